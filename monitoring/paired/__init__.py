"""Two releases on the same requests: the statistics of pairs, and the comparison of a shadow with the champion."""
