"""What all experiments share: nothing here knows any one of them."""
