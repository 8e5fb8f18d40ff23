"""Budget Zoo: `python app.py`, then open the address that it prints."""

from __future__ import annotations

from ui.serve import build, main

__all__ = ["build", "main"]

if __name__ == "__main__":
    main()
