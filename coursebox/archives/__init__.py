"""Where archives are: the machine's own settings of apt and pip, mirrors, indexes, and the HTTP client for them."""
