from hub.transports.grpc.native.budgets import RateBudget


def test_a_budget_allows_a_burst_and_then_a_rate() -> None:
    budget = RateBudget(burst=10, per_s=2, now=0.0)
    assert all(budget.spend(1, 0.0) for _ in range(10))
    assert not budget.spend(1, 0.0)
    assert not budget.spend(1, 0.5)
    assert budget.spend(1, 2.5)


def test_a_budget_never_exceeds_its_burst() -> None:
    budget = RateBudget(burst=10, per_s=2, now=0.0)
    budget.earn(1_000)
    assert not budget.spend(11, 0.0)
    assert not budget.spend(11, 1_000.0)
    assert budget.spend(9, 2_000.0)


def test_earned_budget_can_be_spent() -> None:
    budget = RateBudget(burst=10, per_s=0, now=0.0)
    assert budget.spend(10, 0.0)
    budget.earn(4)
    assert budget.spend(4, 0.0)
    assert not budget.spend(1, 0.0)
