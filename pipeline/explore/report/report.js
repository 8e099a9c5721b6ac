// Draws the chart of each run, once it is seen, from the numbers that the report holds.

const rates = JSON.parse(document.getElementById("rates").textContent);

function drawn(element) {
  const run = rates[Number(element.dataset.run)];
  lineChart(element, {
    xs: run.at_s,
    series: [
      { label: "decoded/s", values: run.decode },
      { label: "model/s", values: run.embed },
      { label: "written/s", values: run.commit },
    ],
    xLabel: "since the command",
  });
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    drawn(entry.target);
  }
});
for (const element of document.querySelectorAll("[data-run]")) seen.observe(element);
