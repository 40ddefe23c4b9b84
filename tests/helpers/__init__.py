"""What tests share: toy models, videos and folders that they make. Imported as `helpers`."""
