"""The terms of the hazard and their coefficients in its logit."""

from pydantic import Field

from worlds.subscription.section import Section


class HazardCoefficients(Section):
    """Additions to the logit of the monthly hazard for one unit of each term; the descriptions define the terms.

    `t` is the month's first instant, UTC; a window of n days is [t - n days, t). Counts refer to the true events, before
    records are delayed, duplicated or damaged.
    """

    log_tenure: float = Field(default=-0.3, description="ln(1 + days since signup / 30)")
    annual_locked: float = Field(default=-1.6, description="1 if an annual contract ends more than 31 days after t")
    annual_ending: float = Field(default=0.8, description="1 if an annual contract ends at most 31 days after t")
    price_rise_90d: float = Field(
        default=7.0, description="sum of ln(price / previous_price) over plan_changes of kind price_change in 90 days"
    )
    downgrades_90d: float = Field(default=0.7, description="plan_changes of kind downgrade in 90 days")
    active_share_30d: float = Field(default=-3.5, description="days with usage in 30 days, divided by 30")
    usage_trend: float = Field(default=-0.9, description="ln((1 + minutes in 30 days) / (1 + minutes in 90 days / 3))")
    features_mean_30d: float = Field(
        default=-0.15, description="mean features_used over the days with usage in 30 days; 0 without any"
    )
    days_since_use: float = Field(
        default=0.05, description="min(30, calendar days since the last usage or, without any, since signup)"
    )
    failed_payments_90d: float = Field(default=0.7, description="min(3, payments with status failed in 90 days)")
    late_payments_90d: float = Field(default=0.3, description="min(3, payments with status late in 90 days)")
    open_tickets: float = Field(default=0.6, description="min(2, tickets opened and not closed before t)")
    billing_tickets_90d: float = Field(default=0.4, description="min(2, tickets opened with reason billing in 90 days)")
    outage_tickets_90d: float = Field(default=0.5, description="min(2, tickets opened with reason outage in 90 days)")
    cancellation_tickets_90d: float = Field(
        default=1.2, description="min(2, tickets opened with reason cancellation in 90 days)"
    )
    angry_tickets_90d: float = Field(
        default=0.7, description="min(2, tickets opened in 90 days whose text says 'unacceptable')"
    )
