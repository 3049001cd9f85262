// Numbers as Python formats them, so that the page's sentences are the doctor's, letter for letter.
const pythonic = (() => {
  // a tie between two roundings is exact only where all digits after the 5 are 0; Python then takes the even one
  const rounded = (x, places) => {
    const size = Math.abs(x), text = size.toFixed(places), exact = size.toFixed(Math.min(100, places + 60));
    const dot = exact.indexOf("."), rest = exact.slice(dot + 1 + places);
    const even = /^50*$/.test(rest) && /[13579]$/.test(text) ? (Number(text) - 10 ** -places).toFixed(places) : text;
    return (x < 0 || Object.is(x, -0) ? "-" : "") + even;
  };
  const general = (x, digits) => {
    if (x === 0) return "0";
    const [, power] = Math.abs(x).toExponential(digits - 1).split("e"), e = Number(power);
    const bare = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
    if (e >= -4 && e < digits) return bare(rounded(x, digits - 1 - e));
    const [mantissa] = x.toExponential(digits - 1).split("e");
    return `${bare(mantissa)}e${e < 0 ? "-" : "+"}${String(Math.abs(e)).padStart(2, "0")}`;
  };
  const spelled = (x) => (Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf");
  // as f"{x:FORMAT}" for ".4g", "+.2g", ".4f", ".0%", ""
  return (x, format) => {
    const [, plus, digits, kind] = /^(\+?)\.(\d+)([gf%])$/.exec(format);
    const text = !Number.isFinite(x) ? spelled(x) : kind === "g" ? general(x, Number(digits)) : kind === "f" ? rounded(x, Number(digits))
      : `${rounded(100 * x, Number(digits))}%`;
    return plus && !text.startsWith("-") ? `+${text}` : text;
  };
})();
