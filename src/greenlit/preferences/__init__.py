"""What people say: preferences and demonstrations in human/<dataset>/, asked for by `greenlit prefer` or imported."""
