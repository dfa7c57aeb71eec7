// Warnings: likely label errors, leaks from the test set, classes that lose accuracy.

const warningsPanel = (() => {
  const STEP = 12;

  function side(row) {
    return make(
      "div", { class: "side" },
      imageTile(row, `#${images.index[row]}`),
      make("span", { class: "side-class" }, className(images.label[row])),
      make("span", { class: "side-split" }, isTrain(row) ? "training" : "test"),
    );
  }

  function pair(a, b, { distance, identical }) {
    return make(
      "li", { class: "pair-card" },
      make("div", { class: "sides" }, side(a), side(b)),
      identical
        ? make("span", { class: "badge" }, "identical pixels")
        : make("span", { class: "far" }, `distance ${distanceText(distance)}`),
    );
  }

  /** Returns a list that shows STEP more cards at a time, since there may be thousands, and the button for more. */
  function growing(list, cards) {
    const more = make("button", { type: "button", onclick: grow });
    function grow() {
      const shown = list.children.length;
      list.append(...cards.slice(shown, shown + STEP).map((card) => card()));
      const left = cards.length - list.children.length;
      more.hidden = left === 0;
      more.textContent = `Show ${count(Math.min(STEP, left))} more of ${count(cards.length)}`;
    }
    grow();
    return [list, more];
  }

  function part(id, title, number, explanation, ...body) {
    return make(
      "section", { id, class: "warning" },
      make("h3", {}, `${title} `, make("span", { class: number ? "number-badge some" : "number-badge" }, count(number))),
      make("p", { class: "note" }, number ? explanation : "None found."),
      ...(number ? body : []),
    );
  }

  function losing(classes) {
    const interval = ({ low, high }) => (low == null ? "–" : `[${signed(low)}, ${signed(high)}]`);
    const row = (loss) => make("tr", {},
      make("td", {}, className(loss.label)),
      make("td", { class: "number" }, signed(loss.change)),
      make("td", { class: "number" }, interval(loss)));
    const [body, more] = growing(make("tbody"), classes.map((loss) => () => row(loss)));
    const head = make("tr", {}, make("th", {}, "Class"), make("th", { class: "number" }, "Change, points"),
      make("th", { class: "number" }, "Interval"));
    return [make("table", {}, make("thead", {}, head), body), more];
  }

  return () => {
    const { label_errors: errors, leaks, losing_classes: classes, notes } = content.warnings;
    byId("warnings-body").replaceChildren(
      part("label-errors", "Likely label errors", errors.length,
        "Training images with different labels that are near each other.",
        ...growing(make("ul", { class: "pairs" }), errors.map((error) => () => pair(error.a, error.b, error)))),
      part("leaks", "Possible leaks", leaks.length,
        "Test images that are near a training image. Copies of training images inflate the test accuracy.",
        ...growing(make("ul", { class: "pairs" }), leaks.map((leak) => () => pair(leak.test, leak.train, leak)))),
      part("losing-classes", "Classes that lose most", classes.length,
        `Change of the class's test accuracy against the full set; ${shortPercent(content.confidence)} intervals.`,
        ...losing(classes)),
      ...notes.map((note) => make("p", { class: "notice" }, note)),
    );
  };
})();
