"""What a verb needs on the machine that it runs on, installed by the verb itself."""
