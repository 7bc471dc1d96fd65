from vip_api.seniority import seniority


def test_the_older_comes_first_and_of_the_same_age_the_first_by_name():
    created = {"b": "2026-01-01T00:00:00Z", "a": "2026-01-01T00:00:00Z", "c": "2025-12-31T23:59:59Z"}
    objects = [{"name": name, "creationTimestamp": at} for name, at in created.items()]
    assert [one["name"] for one in sorted(objects, key=seniority)] == ["c", "a", "b"]
