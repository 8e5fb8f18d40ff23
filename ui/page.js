// The few things that only a browser can do.
window.budgetZoo = {
  start() {
    const wanted = this.remember();
    if (wanted) document.body.classList.toggle("dark", wanted === "dark");
    this.nameSliders();
  },

  // Storage may be switched off; then the choice lasts as long as the page.
  remember(mode) {
    try {
      if (mode) localStorage.setItem("budget-zoo-mode", mode);
      return localStorage.getItem("budget-zoo-mode");
    } catch {
      return null;
    }
  },

  toggleDark() {
    const dark = document.body.classList.toggle("dark");
    this.remember(dark ? "dark" : "light");
  },

  setAddress(query) {
    clearTimeout(this.later);
    // Browsers refuse more than about a hundred changes in half a minute, which a drag would reach.
    this.later = setTimeout(() => {
      history.replaceState(null, "", location.pathname + (query ? "?" + query : "") + location.hash);
    }, 150);
  },

  async copyLink(query) {
    const link = location.origin + location.pathname + (query ? "?" + query : "");
    const button = document.querySelector("#copy-link");
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(link);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = label; }, 1500);
    } catch {
      window.prompt("Copy this link", link);
    }
  },

  save(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = "front-" + (name || "model").replace(/[^A-Za-z0-9._-]+/g, "-") + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  },

  nameSliders() {
    const range = document.querySelector("#budget input[type=range]");
    if (range) range.setAttribute("aria-label", "Budget");
  },
};
