// The few things that only a browser can do.
window.budgetZoo = {
  start() {
    const wanted = this.remember();
    if (wanted) document.body.classList.toggle("dark", wanted === "dark");
    this.nameSliders();
    document.addEventListener("visibilitychange", () => this.lookAgain());
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

  // What the address says: what Explore selects, the tab, and the job that is looked at.
  setAddress(query) {
    if (!query) return; // before a first selection
    this.explored = query;
    this.write();
  },

  // A tab names itself as it appears, too: until the page is open, the address knows better.
  setTab(tab) {
    if (this.isOpen) this.tab = tab;
    this.write();
    this.nameSliders();
    // Figures that were drawn while their tab was hidden have no width yet.
    setTimeout(() => window.dispatchEvent(new Event("resize")), 60);
  },

  setJob(job) {
    if (this.isOpen) this.job = job;
    this.write();
  },

  readAddress() {
    const found = new URLSearchParams(location.search);
    this.tab = found.get("tab") || "explore";
    this.job = found.get("job") || "";
    found.delete("tab");
    found.delete("job");
    this.explored = found.toString();
  },

  query() {
    const parts = [];
    if (this.tab && this.tab !== "explore") parts.push("tab=" + encodeURIComponent(this.tab));
    if (this.tab === "jobs" && this.job) parts.push("job=" + encodeURIComponent(this.job));
    if (this.explored) parts.push(this.explored);
    return parts.join("&");
  },

  // The server has read the address that the page was opened with.
  open() {
    this.isOpen = true;
    this.write();
  },

  write() {
    if (!this.isOpen) return;
    clearTimeout(this.later);
    // Browsers refuse more than about a hundred changes in half a minute, which a drag would reach.
    this.later = setTimeout(() => {
      const query = this.query();
      history.replaceState(null, "", location.pathname + (query ? "?" + query : "") + location.hash);
    }, 150);
  },

  async copyLink() {
    const query = this.query();
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

  // What another tab of the browser or a shell started meanwhile shows as soon as somebody looks again.
  lookAgain() {
    const button = document.querySelector("#refresh-jobs");
    if (!document.hidden && this.tab === "jobs" && button) button.click();
  },

  reveal(selector) {
    setTimeout(() => {
      const found = document.querySelector(selector);
      if (found) found.scrollIntoView({ behavior: "smooth", block: "nearest" });
    }, 120);
  },

  save(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = (name || "model").replace(/[^A-Za-z0-9._-]+/g, "-") + ".csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  },

  nameSliders() {
    const range = document.querySelector("#budget input[type=range]");
    if (range) range.setAttribute("aria-label", "Budget");
  },
};
window.budgetZoo.readAddress();
