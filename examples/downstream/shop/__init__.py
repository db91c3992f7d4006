"""A shop that sends mails later and makes its reports elsewhere."""
