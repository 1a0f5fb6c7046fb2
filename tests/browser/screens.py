"""The two screens on which the pages are opened, and what stands on them."""

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def listed(page):
    """Prompt ids on the list's page."""
    return page.locator("#items .id").all_inner_texts()
