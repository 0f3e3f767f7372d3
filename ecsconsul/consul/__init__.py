"""Consul: its catalog, its DNS, and its binary."""

# here and not in dns.py, so that `ecsconsul dig --help` doesn't import dnspython
RECORD_TYPES = ("A", "AAAA", "SRV", "TXT", "PTR", "ANY")
