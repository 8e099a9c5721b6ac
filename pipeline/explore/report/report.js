// Draws each chart, once it is seen, from the numbers that the report holds.

const charts = JSON.parse(document.getElementById("charts").textContent);

function drawn(element) {
  const { xs, series, x_label: xLabel } = charts[Number(element.dataset.chart)];
  lineChart(element, { xs, series: series.map(([label, values]) => ({ label, values })), xLabel });
}

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    seen.unobserve(entry.target);
    drawn(entry.target);
  }
});
for (const element of document.querySelectorAll("[data-chart]")) seen.observe(element);
