"""What a server that somebody else runs does with the fields that tiers and ledgers stand on."""
