"""People: how they sign in, by password, passkey or single sign-on, and what the groups may do that they are in."""
