"""Identity tells who asks and what they may do: it keeps users and passwords, and gives out tokens."""
