"""What the installer promises, held by the real API server too."""

from tests.emulated.installing import EndingStories, InstallerStories, Site


class TestAgainstTheRealApi(InstallerStories):
    pass


# One of the slow ones: the real server takes a quarter of a minute to end a namespace.
def test_the_end_of_the_stack_takes_everything_out(site: Site) -> None:
    EndingStories().test_the_end_of_the_stack_takes_everything_out_whatever_bundle_it_names(
        site, with_input=False
    )
    assert site.get("/api/v1/namespaces/byoc-system") is None


def test_it_is_the_real_server(site: Site) -> None:
    status, version = site.call("GET", "/version")
    assert status == 200
    assert version["gitVersion"].startswith("v1.")
