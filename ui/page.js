// The few things that only a browser can do.
window.budgetZoo = {
  start() {
    const wanted = this.remember();
    if (wanted) document.body.classList.toggle("dark", wanted === "dark");
    this.nameSliders();
    this.calmSliders();
    document.addEventListener("visibilitychange", () => this.lookAgain());
    document.addEventListener("input", (event) => { if (event.target.closest("#question, #passage")) this.holdTexts(); });
    window.addEventListener("popstate", () => this.goBack());
  },

  // Whatever the page sends to its server carries the page's secret, which no other website knows.
  carry(secret) {
    const plain = window.fetch;
    window.fetch = (input, init) => {
      const isRequest = input instanceof Request;
      const { origin } = new URL(isRequest ? input.url : input, location.href);
      if (origin !== location.origin) return plain(input, init);
      const headers = new Headers(init?.headers ?? (isRequest ? input.headers : undefined));
      headers.set("X-Budget-Zoo", secret);
      return plain(input, { ...init, headers });
    };
  },

  // A hand draws a slider faster than the page can follow: gradio takes a tenth of a second for an event. The thumb follows
  // the hand; the page hears of a move when the hand rests, twice a second while it does not, and at once in the end.
  calmSliders() {
    const every = 500, rest = 100, waiting = new Map();
    const tell = (slider) => {
      const { timer, value } = waiting.get(slider);
      clearTimeout(timer);
      waiting.delete(slider);
      if (!slider.isConnected) return;
      slider.value = value;  // the server may have written another meanwhile
      slider.dispatchEvent(new Event("input", { bubbles: true }));
    };
    document.addEventListener("input", (event) => {
      const slider = event.target;
      if (slider.type !== "range") return;
      const last = waiting.get(slider), since = performance.now() - (last?.told ?? -every);
      if (since >= every) {
        clearTimeout(last?.timer);
        waiting.set(slider, { told: performance.now() });
        return;
      }
      event.stopImmediatePropagation();
      last.value = slider.value;
      clearTimeout(last.timer);
      last.moved = event.timeStamp;
      // A busy page is no hand that rests: moves that wait for it come before the next frame.
      const tellIfRested = () => { if (waiting.get(slider) === last && last.moved === event.timeStamp) tell(slider); };
      last.timer = setTimeout(() => requestAnimationFrame(tellIfRested), Math.min(rest, every - since));
    }, true);
    for (const end of ["pointerup", "change", "keyup"]) {
      document.addEventListener(end, () => { for (const [slider, last] of waiting) if (last.timer) tell(slider); }, true);
    }
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

  // Something new was asked: what stands there is of something else until `show` says so.
  wait() {
    this.asked = this.amounts();
    for (const id of ["answer-card", "kept-card", "latency-card"]) this.dim(id, true);
  },

  // Leaving a number box is no question; another number in it is one.
  waitIfMoved() {
    if (this.asked !== this.amounts()) this.wait();
  },

  amounts() {
    return ["budget", "null-threshold"].map((id) => document.querySelector(`#${id} input[type=number]`)?.value).join("|");
  },

  // The server tells what of the page is of what was asked last.
  show(told) {
    const { answer, latency } = JSON.parse(told || "{}");
    this.dim("answer-card", !answer);
    this.dim("kept-card", !answer);
    this.dim("latency-card", !latency);
    if (!answer) return;
    document.documentElement.classList.add("opened");
    setTimeout(() => this.scrollToAnswer(), 80);
  },

  dim(id, isOld) {
    const card = document.getElementById(id);
    if (!card) return;
    card.classList.toggle("old", isOld);
    card.setAttribute("aria-busy", isOld);
  },

  // Within the text, not the page: whoever reads elsewhere stays there.
  scrollToAnswer() {
    const text = document.getElementById("marked"), found = text && text.querySelector(".highlighted");
    if (!found) return;
    const above = found.getBoundingClientRect().top - text.getBoundingClientRect().top;
    text.scrollTop += above - (text.clientHeight - found.offsetHeight) / 2;
  },

  toggleDark() {
    const dark = document.body.classList.toggle("dark");
    this.remember(dark ? "dark" : "light");
  },

  // What the address says: what Explore selects, the tab, and the job or the card that is looked at.
  setAddress(query) {
    if (!query) return; // before a first selection
    this.explored = query;
    this.write();
    this.holdTexts();
  },

  setCard(card) {
    if (this.isOpen) this.card = card;
    this.write();
  },

  // A tab names itself as it appears, too: until the page is open, the address knows better.
  setTab(tab) {
    if (this.isOpen) this.tab = tab;
    this.nameTab();
    this.write();
    this.nameSliders();
    // Figures that were drawn while their tab was hidden have no width yet.
    setTimeout(() => window.dispatchEvent(new Event("resize")), 60);
  },

  // What the browser's history and a screen reader call the page: the tab first.
  nameTab() {
    const tab = document.querySelector(`#tab-${this.tab}-button`);
    if (tab) document.title = `${tab.textContent.trim()} · Budget Zoo`;
  },

  setCompared(query) {
    if (this.isOpen) this.compared = query;
    this.write();
  },

  setJob(job) {
    if (this.isOpen) this.job = job;
    this.write();
  },

  readAddress() {
    const found = new URLSearchParams(location.search);
    this.tab = found.get("tab") || "explore";
    this.job = found.get("job") || "";
    this.card = found.get("card") || "";
    const compared = ["a", "b", "c", "d"].filter((key) => found.get(key));
    this.compared = compared.map((key) => key + "=" + found.get(key)).join("&");
    for (const key of ["tab", "job", "card", ...compared]) found.delete(key);
    this.explored = found.toString();
  },

  query() {
    const parts = [];
    if (this.tab && this.tab !== "explore") parts.push("tab=" + encodeURIComponent(this.tab));
    if (this.tab === "jobs" && this.job) parts.push("job=" + encodeURIComponent(this.job));
    if (this.tab === "models" && this.card) parts.push("card=" + encodeURIComponent(this.card));
    if (this.tab === "compare" && this.compared) parts.push(this.compared);
    if (this.explored) parts.push(this.explored);
    return parts.join("&");
  },

  // The server has read the address that the page was opened with.
  open() {
    this.isOpen = true;
    this.nameTab();
    this.write();
  },

  write() {
    if (!this.isOpen) return;
    clearTimeout(this.later);
    // Browsers refuse more than about a hundred changes in half a minute, which a drag would reach.
    this.later = setTimeout(() => {
      const query = this.query(), entry = this.entry();
      // The texts of a link are in the address until there are others: a reload would bring them back.
      const isPast = this.hasTyped || new URLSearchParams(this.explored).has("example");
      const hash = isPast && location.hash.startsWith("#t=") ? "" : location.hash;
      const address = location.pathname + (query ? "?" + query : "") + hash;
      // What one would go back to is an entry of its own: a tab, a card, a job, a checkpoint; a moved slider is none.
      const isNew = this.entered !== undefined && this.entered !== entry;
      this.entered = entry;
      if (isNew) history.pushState(null, "", address);
      else history.replaceState(null, "", address);
    }, 150);
  },

  entry() {
    const explored = new URLSearchParams(this.explored);
    explored.delete("budget");
    const compared = this.tab === "compare" && (this.compared || "").replace(/:\d+/g, "");
    const parts = [this.tab, this.tab === "jobs" && this.job, this.tab === "models" && this.card, compared, explored];
    return parts.join("|");
  },

  // Back and forward: a tab is only shown, what else has changed is opened anew from the address.
  goBack() {
    clearTimeout(this.later);
    const state = () => [this.explored, this.job, this.card, this.compared];
    const before = state();
    this.readAddress();
    this.entered = this.entry();
    // A tab that shows nothing of its own in the address leaves what the others show as it is.
    const isOther = state().some((part, i) => part && part !== before[i]);
    if (isOther) return location.reload();
    [this.job, this.card, this.compared] = before.slice(1);
    const button = document.querySelector(`#tab-${this.tab}-button`);
    if (button && button.getAttribute("aria-selected") !== "true") button.click();
  },

  // Texts of a person's own are in the link, behind the #, which no server sees before the page opens it.
  texts(tab = "") {
    return ["question", "passage"].map((id) => document.querySelector(`#${tab}${id} textarea`)?.value || "");
  },

  holdTexts() {
    this.hasTyped = true;
    this.write();
    try {
      sessionStorage.setItem("budget-zoo-texts", JSON.stringify(this.texts()));
    } catch {
      // then a reload brings the example
    }
  },

  async packTexts() {
    if (this.tab === "compare") return "#c=" + await this.pack(this.texts("compare-"));
    if (new URLSearchParams(this.explored).has("example")) return "";
    return "#t=" + await this.pack(this.texts());
  },

  async pack(texts) {
    const packed = new Blob([JSON.stringify(texts)]).stream().pipeThrough(new CompressionStream("deflate-raw"));
    const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
    const text = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    return text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
  },

  // The texts that the page opens with: of the link, else what was typed before a reload, else none. Compare's are `c`.
  async arrive(key = "t") {
    try {
      const packed = new URLSearchParams(location.hash.slice(1)).get(key);
      if (packed) {
        const bytes = Uint8Array.from(atob(packed.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
        const read = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
        return await new Response(read).text();
      }
      const how = performance.getEntriesByType("navigation")[0]?.type;
      if (key === "t" && (how === "reload" || how === "back_forward")) return sessionStorage.getItem("budget-zoo-texts") || "";
    } catch {
      return "broken";
    }
    return "";
  },

  async copyLink() {
    const query = this.query();
    const texts = await this.packTexts();
    const link = location.origin + location.pathname + (query ? "?" + query : "") + texts;
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
    // Long texts scroll in their card, by the keyboard too.
    for (const [id, name] of [["marked", "The text with what was found"], ["kept", "What was kept"]]) {
      const text = document.querySelector(`#${id}`);
      if (!text) continue;
      text.tabIndex = 0;
      text.setAttribute("role", "region");
      text.setAttribute("aria-label", name);
    }
  },
};
window.budgetZoo.readAddress();
if (CSS.supports("field-sizing", "content")) document.documentElement.classList.add("sizes");
