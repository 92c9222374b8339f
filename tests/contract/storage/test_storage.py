from tests.contract.storage.stories import StorageStories


class TestStorage(StorageStories):
    """Every storage keeps the same promises."""
