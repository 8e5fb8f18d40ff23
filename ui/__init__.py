"""What people see. Pages arrange components and call `zoo` and `compress`; there is no model code here."""
