// The anomaly panel for TealStreet: alerts, the market as a whole, and how current both are.
//
// One file on purpose: TealStreet modules are pasted. Sections, in the order data flows:
//   1 Types · 2 Normalise · 3 Wording · 4 Store · 5 PAD socket · 6 Settings · 7 Host · 8 List layout · 9 Glyphs and charts
//   10 Alert views · 11 Market views · 12 Header and overlays · 13 The panel · 14 Style
// `React` and `api` come from the host. `npm run build` turns this file into `component-ready.tsx`, the text to paste.
const SEVERITIES = ["CRITICAL", "HIGH", "MEDIUM", "LOW"];
const camel = (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
const isRecord = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
function pick(raw, ...names) {
    for (const name of names) {
        const value = raw[name] ?? raw[camel(name)];
        if (value !== undefined && value !== null)
            return value;
    }
    return null;
}
function toNumber(value) {
    const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
    return typeof number === "number" && Number.isFinite(number) ? number : null;
}
function toTime(value) {
    const number = toNumber(value);
    if (number !== null) {
        if (number < 1e8)
            return null;
        if (number < 1e11)
            return Math.round(number * 1e3);
        if (number < 1e14)
            return Math.round(number);
        return number < 1e17 ? Math.round(number / 1e3) : number < 1e20 ? Math.round(number / 1e6) : null;
    }
    if (typeof value !== "string")
        return null;
    const parsed = Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(value) ? value : `${value}Z`);
    return parsed > 0 && parsed < 1e14 ? parsed : null;
}
const toText = (value, otherwise = "") => typeof value === "string"
    ? value.slice(0, 400)
    : typeof value === "number" && Number.isFinite(value)
        ? String(value)
        : otherwise;
const toWord = (value, otherwise) => toText(value)
    .trim()
    .replace(/[\s-]+/g, "_")
    .toUpperCase()
    .slice(0, 40) || otherwise;
const canonical = (symbol) => (toText(symbol).split(":")[0] ?? "").replace(/[^A-Za-z0-9\u0080-\uffff]/g, "").toUpperCase();
function toDirection(raw, ...hints) {
    const word = toWord(pick(raw, "direction", "side"), "");
    if (["UP", "RISE", "LONG", "BUY", "BULLISH", "POSITIVE"].includes(word))
        return "UP";
    if (["DOWN", "FALL", "SHORT", "SELL", "BEARISH", "NEGATIVE"].includes(word))
        return "DOWN";
    const hint = hints.find((value) => value !== null && value !== 0) ?? null;
    return hint === null ? null : hint > 0 ? "UP" : "DOWN";
}
const toList = (value) => (Array.isArray(value) ? value : []);
const toSymbols = (value) => toList(value).map(canonical).filter(Boolean).slice(0, 10_000);
const INTERVAL = /^[1-9]\d{0,4}[smhd]$/;
function normaliseAlert(raw, now) {
    if (!isRecord(raw))
        return null;
    const symbol = canonical(pick(raw, "symbol", "pair", "market"));
    if (!symbol)
        return null;
    const why = isRecord(raw.explanation) ? raw.explanation : {};
    const timestamp = toTime(pick(raw, "timestamp", "time", "ts")) ?? now;
    const method = toWord(pick(raw, "method", "detector"), "UNKNOWN");
    const changePct = toNumber(pick(raw, "change_pct", "change_percent", "change"));
    const score = toNumber(pick(raw, "score", "z_score"));
    const interval = toText(pick(raw, "interval", "timeframe"), "1m");
    const rarityDays = toNumber(pick(raw, "rarity_days"));
    const rarity = isRecord(why.parameters) && isRecord(why.parameters.rarity) ? why.parameters.rarity : {};
    const most = toNumber(pick(rarity, "most_days"));
    return {
        id: toText(pick(raw, "id")) || `${symbol}:${method}:${timestamp}`,
        revision: Math.max(1, toNumber(pick(raw, "revision")) ?? 1),
        symbol,
        venue: toText(pick(raw, "venue", "exchange")),
        interval,
        method,
        severity: toWord(pick(raw, "severity", "level"), "LOW"),
        direction: toDirection(raw, changePct, score),
        score,
        threshold: toNumber(pick(raw, "threshold")),
        price: toNumber(pick(raw, "price", "close")),
        expected: toNumber(pick(raw, "expected")),
        lower: toNumber(pick(raw, "lower")),
        upper: toNumber(pick(raw, "upper")),
        changePct,
        window: [pick(why, "window"), pick(raw, "window")].map((text) => toText(text)).find((text) => INTERVAL.test(text)) ?? "",
        excessPct: toNumber(pick(raw, "excess_pct")),
        excursionPct: toNumber(pick(raw, "excursion_pct")),
        rarityDays: rarityDays !== null && rarityDays >= 0 ? rarityDays : null,
        rarityCapped: rarityDays !== null && most !== null && rarityDays >= most,
        source: toText(pick(raw, "source")).toLowerCase(),
        timestamp,
        detectedAt: toTime(pick(raw, "detected_at")),
        state: toWord(pick(raw, "state"), "OPEN"),
        spark: toList(pick(raw, "spark"))
            .map(toNumber)
            .filter((value) => value !== null)
            .slice(-60),
        sentence: toText(pick(why, "sentence")) || toText(pick(raw, "message")),
        baselineSize: toNumber(pick(why, "baseline_size")),
        methods: toList(why.methods)
            .filter(isRecord)
            .map((other) => ({ method: toWord(other.method, "UNKNOWN"), score: toNumber(other.score) ?? 0 }))
            .slice(0, 12),
        escalations: toList(why.escalations)
            .filter(isRecord)
            .flatMap((step) => {
            const at = toTime(step.timestamp);
            return at === null ? [] : [{ severity: toWord(step.severity, "LOW"), timestamp: at }];
        })
            .slice(0, 12),
        detector: [toText(why.detector), toText(why.version) && `v${toText(why.version).replace(/^v/, "")}`]
            .filter(Boolean)
            .join(" "),
        incident: toText(pick(raw, "incident", "incident_id")) || null,
        review: normaliseReview(raw),
    };
}
function normaliseReview(raw) {
    if (!isRecord(raw))
        return null;
    const [state, note] = [toWord(pick(raw, "review_state"), "NEW"), toText(pick(raw, "review_note"))];
    return state !== "NEW" || note
        ? { state, by: toText(pick(raw, "reviewed_by")), at: toTime(pick(raw, "reviewed_at")), note }
        : null;
}
function normaliseParts(value) {
    if (!isRecord(value))
        return [];
    return Object.entries(value)
        .flatMap(([name, part]) => {
        const points = isRecord(part) ? toNumber(part.points) : toNumber(part);
        if (points === null)
            return [];
        const percentile = isRecord(part) ? (toNumber(part.percentile) ?? 0) : 0;
        return [
            {
                name: name.slice(0, 40),
                value: isRecord(part) ? toNumber(part.value) : null,
                percentile: Math.min(100, Math.max(0, percentile)),
                points,
            },
        ];
    })
        .sort((a, b) => b.points - a.points)
        .slice(0, 8);
}
function normaliseMarket(raw, now) {
    if (!isRecord(raw))
        return null;
    const type = toWord(pick(raw, "type", "anomaly_type"), "");
    if (!type)
        return null;
    const timestamp = toTime(pick(raw, "timestamp", "time", "ts")) ?? now;
    const averageChangePct = toNumber(pick(raw, "average_change_pct", "average_change")) || null;
    const performancePct = toNumber(pick(raw, "performance_pct", "performance"));
    const sector = toText(pick(raw, "sector")) || null;
    const index = toNumber(pick(raw, "stress_index", "index"));
    const ratio = toNumber(pick(raw, "synchronization_ratio", "ratio"));
    const affected = toList(pick(raw, "affected_symbols", "symbols"));
    const changes = toList(pick(raw, "changes_pct"))
        .map(toNumber)
        .filter((change) => change !== null);
    return {
        id: toText(pick(raw, "id")) || `${type}:${sector ?? ""}:${timestamp}`,
        revision: Math.max(1, toNumber(pick(raw, "revision")) ?? 1),
        type,
        severity: toWord(pick(raw, "severity", "level"), "LOW"),
        timestamp,
        state: toWord(pick(raw, "state"), "OPEN"),
        window: toText(pick(raw, "window", "interval"), ""),
        universe: toNumber(pick(raw, "universe")),
        direction: toDirection(raw, averageChangePct, performancePct),
        ratio: ratio === null ? null : Math.min(1, Math.max(0, ratio)),
        averageChangePct,
        usualRatio: toNumber(pick(raw, "usual_ratio")),
        symbols: toSymbols(affected),
        changes: new Map(changes.length === affected.length ? affected.map((symbol, i) => [canonical(symbol), changes[i]]) : []),
        alertCount: toNumber(pick(raw, "alert_count")),
        metric: toText(pick(raw, "metric")) || null,
        stressIndex: index === null ? null : Math.min(100, Math.max(0, index)),
        components: normaliseParts(raw.components),
        sector,
        performancePct,
        deviation: toNumber(pick(raw, "deviation")),
        members: toNumber(pick(raw, "members")),
        membersMoving: toNumber(pick(raw, "members_moving")),
        excessPct: toNumber(pick(raw, "excess_pct")),
        venue: toText(pick(raw, "venue")) || null,
        rarityDays: toNumber(pick(raw, "rarity_days")),
        source: toText(pick(raw, "source")).toLowerCase() || null,
    };
}
const SOME_WINDOW = /^[1-9]\d{0,3}[smhd]$/;
const MOST_SYMBOLS = 1e6;
const MOST_WINDOWS = 6;
function normaliseBreadth(value) {
    if (!isRecord(value))
        return null;
    const [up, flat, down] = ["up", "flat", "down"].map((way) => Math.min(MOST_SYMBOLS, Math.max(0, Math.round(toNumber(value[way]) ?? 0))));
    return up + flat + down > 0 ? { up: up, flat: flat, down: down } : null;
}
const normaliseMoves = (value) => toList(value)
    .filter(isRecord)
    .flatMap((sector) => {
    const [name, performancePct] = [
        toText(pick(sector, "sector", "name")),
        toNumber(pick(sector, "performance_pct", "performance")),
    ];
    return name && performancePct !== null
        ? [
            {
                sector: name,
                performancePct,
                deviation: toNumber(pick(sector, "deviation")),
                members: toNumber(pick(sector, "members")),
            },
        ]
        : [];
})
    .slice(0, 60);
function normaliseWindow(window, raw) {
    const majors = isRecord(raw.majors) ? Object.entries(raw.majors) : [];
    const move = {
        window,
        returnPct: toNumber(pick(raw, "return_pct")),
        breadth: normaliseBreadth(raw.breadth),
        sectors: normaliseMoves(raw.sectors),
        majors: majors
            .flatMap(([name, change]) => {
            const [base, changePct] = [canonical(name), toNumber(change)];
            return base && changePct !== null ? [{ base, changePct }] : [];
        })
            .slice(0, 4),
    };
    return move.returnPct !== null || move.breadth || move.sectors.length || move.majors.length ? move : null;
}
function normaliseStress(raw, now) {
    if (!isRecord(raw))
        return null;
    const index = toNumber(pick(raw, "stress_index", "index", "value"));
    if (index === null)
        return null;
    const window = toText(pick(raw, "window"));
    const windows = Object.entries(isRecord(raw.windows) ? raw.windows : {}).flatMap(([name, move]) => SOME_WINDOW.test(name) && isRecord(move) ? (normaliseWindow(name, move) ?? []) : []);
    const beside = normaliseWindow(SOME_WINDOW.test(window) ? window : "15m", {
        breadth: raw.breadth,
        sectors: raw.sectors,
    });
    if (beside && !windows.some((move) => move.window === beside.window))
        windows.push(beside);
    const glance = beside ?? windows.find((move) => move.window === "15m");
    return {
        venue: toText(pick(raw, "venue")),
        index: Math.min(100, Math.max(0, index)),
        parts: normaliseParts(raw.components),
        timestamp: toTime(pick(raw, "timestamp", "time", "ts")) ?? now,
        interval: toText(pick(raw, "interval"), "1m"),
        window: window || (glance?.window ?? ""),
        breadth: glance?.breadth ?? null,
        sectors: glance?.sectors ?? [],
        windows: windows.sort((a, b) => intervalMs(a.window) - intervalMs(b.window)).slice(0, MOST_WINDOWS),
    };
}
function normaliseSectors(raw) {
    const sectors = toList(isRecord(raw) ? raw.results : null)
        .filter(isRecord)
        .map((row) => [toText(row.sector), toSymbols(row.symbols)]);
    return new Map(sectors.filter(([sector]) => sector).slice(0, 500));
}
function normaliseFeed(raw, now) {
    if (!isRecord(raw))
        return null;
    return {
        venue: toText(pick(raw, "venue"), "unknown venue") || "unknown venue",
        source: toText(pick(raw, "source"), "unknown").toLowerCase(),
        state: toText(pick(raw, "state"), "ok").toLowerCase(),
        interval: toText(pick(raw, "interval"), "1s"),
        symbols: toNumber(pick(raw, "symbols")) ?? 0,
        ageMs: Math.max(0, toNumber(pick(raw, "age_ms")) ?? 0),
        timestamp: toTime(pick(raw, "timestamp", "ts")) ?? now,
        progress: toNumber(pick(raw, "progress")),
        reason: toText(pick(raw, "reason")),
    };
}
function normaliseCounts(raw) {
    const counts = (value) => {
        const [alerts, symbols] = isRecord(value) ? [toNumber(value.alerts), toNumber(value.symbols)] : [null, null];
        if (!isRecord(value) || alerts === null || symbols === null)
            return null;
        const found = isRecord(value.severities) ? value.severities : {};
        return {
            alerts,
            symbols,
            severities: Object.fromEntries(SEVERITIES.map((severity) => [severity, toNumber(found[severity]) ?? 0])),
        };
    };
    const [open, last24h] = isRecord(raw) ? [counts(raw.open), counts(pick(raw, "last_24h", "last24h"))] : [null, null];
    return open && last24h ? { open, last24h } : null;
}
function normaliseChart(raw) {
    return toList(isRecord(raw) ? raw.history : null)
        .filter(isRecord)
        .flatMap((point) => {
        const [timestamp, close] = [toTime(point.timestamp), toNumber(point.close)];
        if (timestamp === null || close === null)
            return [];
        return [
            {
                timestamp,
                close,
                expected: toNumber(point.expected),
                lower: toNumber(point.lower),
                upper: toNumber(point.upper),
            },
        ];
    });
}
function normaliseCandles(raw) {
    return normaliseChart({ history: isRecord(raw) ? raw.candles : null });
}
const NBSP = "\u00a0";
const METHOD_NAMES = {
    Z_SCORE: "Z-score",
    VOLUME: "Volume",
    VOLATILITY: "Range",
    RESIDUAL: "Residual",
    MAD: "MAD",
    EWMA: "EWMA",
    CUSUM: "CUSUM",
    EXTERNAL: "External",
};
const METHODS = Object.keys(METHOD_NAMES);
const QUOTES = [
    ...["FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "DAI", "EUR", "GBP", "CHF", "AUD", "CAD", "BRL", "TRY"],
    ...["JPY", "KRW", "BTC", "ETH", "BNB"],
];
function words(name) {
    const text = name.replace(/_/g, " ").toLowerCase();
    return text.charAt(0).toUpperCase() + text.slice(1);
}
const methodName = (method) => METHOD_NAMES[method] ?? method;
const methodsOf = (seen) => [
    ...METHODS,
    ...[...new Set(seen)].filter((method) => !(method in METHOD_NAMES)).sort(),
];
const formatters = Array.from({ length: 13 }, (_, digits) => new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }));
const significant = new Intl.NumberFormat("en-US", { minimumSignificantDigits: 4, maximumSignificantDigits: 5 });
const plain = (value, digits) => (value === null ? "–" : formatters[digits].format(value));
function signed(value, digits) {
    const text = plain(value === null ? null : Math.abs(value), digits);
    return value === null || !/[1-9]/.test(text) ? text : `${value < 0 ? "−" : "+"}${text}`;
}
const MOST = 999_999;
const bounded = (value) => Math.max(-MOST, Math.min(MOST, value));
const beyond = (value) => (Math.abs(value) > MOST ? "+" : "");
const percent = (value, gap = "") => value === null ? "–" : `${signed(bounded(value), Math.abs(value) >= 100 ? 0 : 2)}${beyond(value)}${gap}%`;
const percentPoints = (value) => value === null ? "–" : `${signed(bounded(value), Math.abs(value) >= 100 ? 0 : 1)}${beyond(value)}${NBSP}pp`;
function moveOf(value) {
    const sign = percent(value).charAt(0);
    return sign === "+" ? "up" : sign === "−" ? "down" : "flat";
}
const unitOf = (method) => method === "VOLUME" || method === "VOLATILITY" ? "×" : method === "EXTERNAL" || !(method in METHOD_NAMES) ? "" : "σ";
function scoreText(score, unit = "σ") {
    if (score === null || (unit === "" && score === 0))
        return "–";
    return `${(unit === "×" ? plain : signed)(score, Math.abs(score) >= 1000 ? 0 : 1)}${unit}`;
}
const countText = (count, more = false) => `${plain(count, 0)}${more ? "+" : ""}`;
function share(ratio) {
    if (ratio === null)
        return "–";
    const whole = Math.round(ratio * 100);
    return `${ratio < 1 && whole === 100 ? 99 : ratio > 0 && whole === 0 ? "<1" : whole}${NBSP}%`;
}
function price(value, step) {
    if (value === null)
        return "–";
    if (step && step > 0 && step < 1)
        return plain(value, Math.min(12, Math.max(0, Math.round(-Math.log10(step)))));
    if (Math.abs(value) >= 1e12)
        return value.toExponential(3);
    if (Math.abs(value) >= 1000)
        return plain(value, 1);
    if (value > 0 && value < 1e-4) {
        const [digits = "", exponent = ""] = value.toExponential(3).split("e-");
        const zeros = String(Number(exponent) - 1).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[Number(digit)]);
        return `0.0${zeros}${digits.replace(".", "")}`;
    }
    return significant.format(value);
}
function age(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    if (seconds < 60)
        return `${seconds}s`;
    if (seconds < 3600)
        return `${Math.floor(seconds / 60)}m`;
    return seconds < 86_400 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}
const longAge = (ms) => age(ms).replace(/(\d+)(\w)/, (_, n, unit) => `${n}${NBSP}${unit === "m" ? "min" : unit}`);
function span(interval) {
    const match = /^(\d+)([smhd])$/.exec(interval);
    return match ? `${match[1]}${NBSP}${match[2] === "m" ? "min" : match[2]}` : interval;
}
const pad2 = (value) => String(value).padStart(2, "0");
const TIMEZONE_KEY = "anomaly-timezone";
function storedTimezone() {
    try {
        return localStorage.getItem(TIMEZONE_KEY) === "utc" ? "utc" : "local";
    }
    catch {
        return "local";
    }
}
const time = {
    zone: storedTimezone(),
    aheadMs: 0,
};
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const inZone = (timestamp, zone) => new Date(zone === "utc" ? timestamp : timestamp - new Date(timestamp).getTimezoneOffset() * 60_000);
function zoneName(timestamp, zone = time.zone) {
    const minutes = zone === "utc" ? 0 : -new Date(timestamp).getTimezoneOffset();
    if (minutes === 0)
        return "UTC";
    const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
    return `UTC${minutes < 0 ? "−" : "+"}${hours}${rest ? `:${pad2(rest)}` : ""}`;
}
function clock(timestamp, seconds = false, { full = false, zone = time.zone, today = NaN } = {}) {
    if (!Number.isFinite(timestamp) || Math.abs(timestamp) > 8.64e15 - 864e5)
        return "–";
    const date = inZone(timestamp, zone);
    const now = inZone(Number.isNaN(today) ? Date.now() + time.aheadMs : today, zone);
    const text = `${pad2(date.getUTCHours())}:${pad2(date.getUTCMinutes())}${seconds ? `:${pad2(date.getUTCSeconds())}` : ""}`;
    const sameYear = !full && date.getUTCFullYear() === now.getUTCFullYear();
    if (sameYear && date.getUTCMonth() === now.getUTCMonth() && date.getUTCDate() === now.getUTCDate())
        return text;
    const day = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}${sameYear ? "" : ` ${date.getUTCFullYear()}`}`;
    return `${day} ${text} ${zoneName(timestamp, zone)}`;
}
const titled = (name) => name.charAt(0).toUpperCase() + name.slice(1);
function splitSymbol(symbol) {
    const quote = QUOTES.find((candidate) => symbol.endsWith(candidate) && symbol.length > candidate.length) ?? "";
    return [quote ? symbol.slice(0, -quote.length) : symbol, quote];
}
const coinOf = (symbol) => splitSymbol(symbol)[0].replace(/^(10{3,9}|1M)(?=[A-Z])/, "");
const windowText = (window) => window.replace(/^(\d+)(\w)$/, `$1${NBSP}$2`);
function duration(ms) {
    const [size, unit] = ms < 120e3 ? [1e3, "s"] : ms < 7200e3 ? [60e3, "min"] : ms < 172_800e3 ? [3600e3, "h"] : [86_400e3, "d"];
    return `${plain(Math.round(ms / size), 0)}${NBSP}${unit}`;
}
function rarityText(days, capped = false, brief = false) {
    if (days === null)
        return "";
    if (days > MOST)
        return rarityText(MOST, true, brief);
    const hours = Math.round(days * 24);
    if (hours < 8 && !capped)
        return `several ${brief ? "" : "times "}${hours >= 1 ? "a day" : "an hour"}`;
    const [count, unit] = hours >= 24 ? [Math.round(days), "day"] : [Math.max(1, hours), "hour"];
    const digits = 10 ** Math.max(0, Math.floor(Math.log10(count)) - 1);
    const number = `${plain(Math.round(count / digits) * digits, 0)}${capped && brief ? "+" : ""}`;
    const often = number === "1" ? `once ${unit === "day" ? "a" : "an"} ${unit}` : `once in ${number} ${unit}${count > 1 ? "s" : ""}`;
    return `${capped && !brief ? "rarer than " : ""}${often}`;
}
function besideTheMarket({ changePct, excessPct }) {
    if (changePct === null || excessPct === null)
        return "";
    const market = changePct - excessPct;
    if (moveOf(market) === "flat")
        return ", while the market did not move";
    if (moveOf(market) !== moveOf(changePct))
        return `, while the market ${verbOf(wayOf(market))} ${plain(Math.abs(market), 2)}${NBSP}%`;
    const gap = percentPoints(Math.abs(excessPct));
    if (!/[1-9]/.test(gap))
        return ", like the market";
    return `, ${gap.slice(1)} ${moveOf(excessPct) === moveOf(changePct) ? "more" : "less"} than the market`;
}
function alertSentence(alert, step) {
    const to = alert.price === null ? "" : `, to ${price(alert.price, step)}`;
    if (alert.sentence && !isQuoted(alert))
        return to ? alert.sentence.replace(/, to \d[\d,]*(\.\d+)?(e-?\d+)?/, () => to) : alert.sentence;
    const size = alert.changePct === null ? null : Math.abs(alert.changePct);
    const by = size === null ? "" : ` ${plain(size, size >= 100 ? 0 : 2)}${NBSP}%`;
    const over = inWindow(alert.window) || (by && ` (${NO_WINDOW})`);
    const own = `${alert.symbol} ${verbOf(wayOf(alert.changePct))}${by}${over}${besideTheMarket(alert)}${to}.`;
    return alert.sentence ? `${own} Publisher: “${alert.sentence}”` : own;
}
const NO_WINDOW = "window not given";
function isQuoted({ source, sentence, changePct, excursionPct }) {
    const verb = /\b(rose|fell)\b/i.exec(sentence)?.[1]?.toLowerCase();
    const way = wayOf(excursionPct ?? changePct);
    return source === "" || (verb !== undefined && way !== null && verb !== verbOf(way));
}
function alertText(alert, server) {
    const facts = [
        `${alert.symbol} ${percent(alert.changePct, NBSP)}${inWindow(alert.window) || ` (${NO_WINDOW})`}`,
        wick(alert),
        alert.excessPct === null ? "" : `${percentPoints(alert.excessPct)} against the market`,
        words(alert.severity).toLowerCase(),
        rarityText(alert.rarityDays, alert.rarityCapped),
        alert.price === null ? "" : `at ${price(alert.price)}`,
    ];
    const when = new Date(alert.timestamp).toISOString().replace("T", " ").slice(0, 19);
    return `${facts.filter(Boolean).join(", ")}, ${when} UTC\n${pageOf(server, alert)}`;
}
const pageOf = (server, alert) => `${server}/alerts/${encodeURIComponent(alert.id)}`;
const MARKET_PAGES = {
    binance: ["Binance", "BINANCE", false, "https://www.binance.com/en/trade/BTC_USDT?type=spot"],
    binanceusdm: ["Binance Futures", "BINANCE", true, "https://www.binance.com/en/futures/BTCUSDT"],
    bybit: ["Bybit", "BYBIT", false, "https://www.bybit.com/en/trade/spot/BTC/USDT"],
    "bybit-swap": ["Bybit Perpetuals", "BYBIT", true, "https://www.bybit.com/trade/usdt/BTCUSDT"],
    okx: ["OKX", "OKX", false, "https://www.okx.com/trade-spot/btc-usdt"],
    "okx-swap": ["OKX Perpetuals", "OKX", true, "https://www.okx.com/trade-swap/btc-usdt-swap"],
    coinbase: ["Coinbase", "COINBASE", false, "https://www.coinbase.com/advanced-trade/spot/BTC-USDT"],
    kraken: ["Kraken", "KRAKEN", false, "https://pro.kraken.com/app/trade/btc-usdt"],
    hyperliquid: ["Hyperliquid", "HYPERLIQUID", true, "https://app.hyperliquid.xyz/trade/BTC"],
    kucoin: ["KuCoin", "KUCOIN", false, "https://www.kucoin.com/trade/BTC-USDT"],
    bitget: ["Bitget", "BITGET", false, "https://www.bitget.com/spot/BTCUSDT"],
    "bitget-swap": ["Bitget Futures", "BITGET", true, "https://www.bitget.com/futures/usdt/BTCUSDT"],
    gate: ["Gate", "GATE", false, "https://www.gate.com/trade/BTC_USDT"],
    "gate-swap": ["Gate Futures", "GATE", true, "https://www.gate.com/futures/USDT/BTC_USDT"],
    mexc: ["MEXC", "MEXC", false, "https://www.mexc.com/exchange/BTC_USDT"],
};
const playedVenue = (venue) => venue.replace(/-(replay|simulated)$/, "");
function marketLinks(venue, symbol) {
    const played = playedVenue(venue);
    const page = Object.hasOwn(MARKET_PAGES, played) ? MARKET_PAGES[played] : undefined;
    const name = `${page ? `${page[1]}:` : ""}${symbol}${page?.[2] ? ".P" : ""}`;
    return {
        exchange: page ? exchangePage(page[0], page[3], symbol) : null,
        tradingView: `https://www.tradingview.com/chart/?symbol=${encodeURIComponent(name)}`,
    };
}
function exchangePage(label, url, symbol) {
    const [base, quote] = splitSymbol(symbol);
    const at = url.search(/BTC|btc/);
    if (!quote || (/usdt/i.test(url.slice(0, at)) && quote !== "USDT"))
        return null;
    const coin = label === "Hyperliquid" ? base.replace(/^K(?=PEPE|SHIB|BONK|FLOKI|LUNC|NEIRO|DOGS)/, "k") : base;
    const parts = { BTC: coin, btc: base.toLowerCase(), USDT: quote, usdt: quote.toLowerCase() };
    const pair = url.slice(at).replace(/BTC|btc|USDT|usdt/g, (part) => encodeURIComponent(parts[part]));
    return { label, href: url.slice(0, at) + pair };
}
const ZONES = [
    { below: 40, name: "Calm", severity: "LOW" },
    { below: 60, name: "Elevated", severity: "MEDIUM" },
    { below: 80, name: "High", severity: "HIGH" },
    { below: 101, name: "Extreme", severity: "CRITICAL" },
];
const zoneOf = (index) => ZONES.find((zone) => Math.round(index) < zone.below) ?? ZONES[3];
const besideMarket = (deviation) => `${plain(deviation === null ? null : Math.abs(deviation), 1)}σ ${(deviation ?? 0) < 0 ? "below" : "above"} market`;
const wayOf = (value, text = percent(value)) => value === null || !/[1-9]/.test(text) ? null : value < 0 ? "DOWN" : "UP";
const wayClass = (way) => (way === null ? "t2" : way === "DOWN" ? "down" : "up");
const verbOf = (way) => (way === null ? "moved" : way === "DOWN" ? "fell" : "rose");
const till = (window, timestamp) => window ? `${span(window)} to ${clock(timestamp)}` : `at ${clock(timestamp)}`;
function gapText(points) {
    const size = plain(Math.abs(bounded(points)), 1);
    return /[1-9]/.test(size) ? `${size}${NBSP}pp ${points < 0 ? "below" : "above"}` : "level with";
}
function sideOf({ breadth, returnPct }) {
    const way = wayOf(returnPct);
    if (!breadth)
        return way;
    const half = (breadth.up + breadth.flat + breadth.down) / 2;
    const side = breadth.up > half ? "UP" : breadth.down > half ? "DOWN" : null;
    return returnPct === null || way === side ? side : null;
}
function breadthText(move) {
    if (!move.breadth)
        return "";
    const { up, flat, down } = move.breadth;
    const total = up + flat + down;
    const side = sideOf(move);
    if (side)
        return `${plain(side === "UP" ? up : down, 0)} of ${plain(total, 0)} ${verbOf(side)}`;
    if (flat > total / 2)
        return `${plain(flat, 0)} of ${plain(total, 0)} unchanged`;
    return `${plain(up, 0)} of ${plain(total, 0)} rose, ${plain(down, 0)} fell`;
}
function nowSentence(move) {
    const median = move.returnPct === null ? "" : `${percent(move.returnPct, NBSP)} median`;
    if (!move.breadth)
        return median && `${median} in ${span(move.window)}`;
    return `${breadthText(move)} in ${span(move.window)}${median && `, ${median}`}`;
}
function nearestWindow(windows, window) {
    const distance = (move) => Math.abs(Math.log(intervalMs(move.window) / intervalMs(window)));
    return windows.reduce((best, move) => (best && distance(best) <= distance(move) ? best : move), null);
}
const incidentWay = (item) => item.averageChangePct === null ? item.direction : wayOf(item.averageChangePct);
function goes({ returnPct, breadth }, way) {
    const { up, flat, down } = breadth ?? { up: 0, flat: 0, down: 0 };
    return way !== null && wayOf(returnPct) === way && (way === "UP" ? up : down) >= (up + flat + down) / 2;
}
function besideOf(windows, window, way) {
    const nearest = nearestWindow(windows, window);
    if (!nearest || nearest.window === window)
        return nearest;
    const times = (move) => intervalMs(move.window) / intervalMs(window);
    const near = windows.filter((move) => times(move) >= 1 / 3 && times(move) <= 3);
    const shorter = near.filter((move) => times(move) < 1).pop();
    const longer = near.find((move) => times(move) > 1);
    return [nearest, shorter, longer].find((move) => move && goes(move, way)) ?? nearest;
}
function incidentState(item, windows, now) {
    const window = SOME_WINDOW.test(item.window) ? item.window : "15m";
    const way = incidentWay(item);
    const beside = besideOf(windows, window, way);
    const marketWay = wayOf(beside?.returnPct ?? null);
    const { up, flat, down } = beside?.breadth ?? { up: 0, flat: 0, down: 0 };
    const going = way === "UP" ? up : way === "DOWN" ? down : 0;
    const over = item.state === "CLOSED"
        ? "closed"
        : now - item.timestamp > intervalMs(window)
            ? "silent"
            : marketWay !== null && marketWay !== way
                ? "reversed"
                : way === null || going < (up + flat + down) / 2
                    ? "few"
                    : "";
    return { over, beside };
}
function leadingIncident(items, windows, now) {
    let lead = null;
    for (const item of items) {
        if (item.type !== "SYNCHRONIZED_MOVEMENT" || (lead && lead.item.timestamp >= item.timestamp))
            continue;
        const state = incidentState(item, windows, now);
        if (!state.over)
            lead = { item, ...state };
    }
    return lead;
}
const incidentTitle = (item) => `${titled(verbOf(incidentWay(item)))} together`;
function incidentSize({ symbols, universe, ratio }) {
    const moved = symbols.length || (ratio !== null && universe !== null ? Math.round(ratio * universe) : 0);
    if (!moved)
        return ratio === null ? "" : `${share(ratio)} of symbols`;
    return universe === null ? `${plain(moved, 0)} symbols` : `${plain(moved, 0)} of ${plain(universe, 0)}`;
}
const incidentChange = ({ averageChangePct, window }) => averageChangePct === null ? "" : `${percent(averageChangePct, NBSP)}${inWindow(window)}`;
const inWindow = (window) => (window ? ` in ${span(window)}` : "");
const ago = (ms) => `${longAge(ms)} ago`;
function incidentSentence(item, now) {
    return [
        incidentTitle(item),
        `${clock(item.timestamp)}, ${ago(now - item.timestamp)}`,
        incidentChange(item),
        incidentSize(item),
    ]
        .filter(Boolean)
        .join(" · ");
}
function sectorGap(item) {
    if (item.excessPct !== null)
        return `${gapText(item.excessPct)} the market`;
    return !item.deviation ? "" : `${besideMarket(item.deviation).replace(/market$/, "the market")}`;
}
function sectorSentence(item) {
    return `${item.sector ?? "A sector"} ${sectorGap(item) || "apart from the market"}, ${till(item.window, item.timestamp)}`;
}
function marketSentence(item) {
    if (item.type === "SYNCHRONIZED_MOVEMENT")
        return [incidentTitle(item), incidentChange(item), incidentSize(item)].filter(Boolean).join(" · ");
    if (item.type === "SECTOR_ANOMALY") {
        const own = item.performancePct === null ? "" : ` · ${percent(item.performancePct, NBSP)}`;
        return `${item.sector ?? "A sector"} ${sectorGap(item)}${own}${inWindow(item.window)}`.replace(/ {2,}/g, " ");
    }
    if (item.type === "MARKET_STRESS")
        return `${titled(stressText(item, item.severity))}${item.metric ? ` · led by ${item.metric}` : ""}`;
    return words(item.type);
}
function stressText({ stressIndex, severity, state }, beside) {
    if (stressIndex === null)
        return "market stress";
    const [zone, peak] = [zoneOf(stressIndex), ZONES.find((other) => other.severity === severity)];
    const index = Math.round(stressIndex);
    if (zone.severity === beside)
        return `${zone.name.toLowerCase()} stress ${index}`;
    const fallen = peak !== undefined && severity === beside && ZONES.indexOf(peak) > ZONES.indexOf(zone);
    if (!fallen)
        return `stress ${index} of 100`;
    return `stress ${peak.name.toLowerCase()} at its peak, ${state === "CLOSED" ? `${index} at the end` : `then ${index}`}`;
}
const SAME_EVENT_MS = 60_000;
function marketEvents(items) {
    const readings = items.filter((item) => item.type === "MARKET_STRESS");
    const taken = new Set();
    const stressOf = new Map();
    for (const item of items) {
        if (item.type !== "SYNCHRONIZED_MOVEMENT")
            continue;
        const distance = (reading) => Math.abs(reading.timestamp - item.timestamp);
        const near = readings
            .filter((reading) => !taken.has(reading) && distance(reading) <= SAME_EVENT_MS)
            .sort((a, b) => distance(a) - distance(b))[0];
        if (!near)
            continue;
        taken.add(near);
        stressOf.set(item, near);
    }
    return items.filter((item) => !taken.has(item)).map((item) => ({ item, stress: stressOf.get(item) ?? null }));
}
function roundTogether(parts, total, digits = 1) {
    const unit = 10 ** digits;
    const exact = parts.map((part) => part * unit);
    const floors = exact.map(Math.floor);
    let left = Math.round(total * unit) - floors.reduce((sum, value) => sum + value, 0);
    const order = exact.map((value, i) => [value - floors[i], i]).sort((a, b) => b[0] - a[0]);
    for (const [, i] of order) {
        if (left <= 0)
            break;
        floors[i] += 1;
        left -= 1;
    }
    return floors.map((value) => value / unit);
}
const KEPT_ALERTS = 10_000;
const KEPT_MARKET = 300;
const TRIM_BY = 500;
function follows(next, known) {
    const signed = Boolean(next.source);
    return signed === Boolean(known.source) ? next.revision > known.revision : signed;
}
class Store {
    entries = [];
    byId = new Map();
    symbols = new Set();
    market = new Map();
    seq = 0;
    skipped = 0;
    dropped = 0;
    newest = 0;
    addAlert(alert, arrived = 0, older = false) {
        this.newest = Math.max(this.newest, alert.timestamp);
        const known = this.byId.get(alert.id);
        if (known) {
            if (!follows(alert, known.alert))
                return "old";
            const turned = alert.direction !== null && known.alert.direction !== null && alert.direction !== known.alert.direction;
            const news = alert.state !== "CLOSED" && (turned || rankOf(alert.severity) > rankOf(known.alert.severity));
            known.alert = alert.review ? alert : { ...alert, review: known.alert.review };
            this.symbols.add(alert.symbol);
            return news ? "news" : "updated";
        }
        const entry = { alert, at: alert.timestamp, seq: older ? 0 : (this.seq += 1), arrived };
        this.byId.set(alert.id, entry);
        this.symbols.add(alert.symbol);
        let place = this.entries.length;
        while (place > 0 && this.entries[place - 1].at > entry.at)
            place -= 1;
        if (place === this.entries.length)
            this.entries.push(entry);
        else
            this.entries.splice(place, 0, entry);
        if (this.entries.length >= KEPT_ALERTS + TRIM_BY) {
            for (const gone of this.entries.splice(0, this.entries.length - KEPT_ALERTS))
                this.byId.delete(gone.alert.id);
            this.dropped += TRIM_BY;
        }
        return "news";
    }
    setReview(id, review) {
        const known = this.byId.get(id);
        if (known)
            known.alert = { ...known.alert, review };
    }
    addMarket(item) {
        this.newest = Math.max(this.newest, item.timestamp);
        const known = this.market.get(item.id);
        if (known && !follows(item, known))
            return false;
        this.market.set(item.id, item);
        if (this.market.size > KEPT_MARKET) {
            const oldest = [...this.market.values()].reduce((a, b) => (a.timestamp <= b.timestamp ? a : b));
            this.market.delete(oldest.id);
        }
        return true;
    }
}
const TIMING = {
    pingAfterMs: 20_000,
    closeAfterMs: 30_000,
    firstBackoffMs: 500,
    mostBackoffMs: 30_000,
    fetchMs: 10_000,
    lingerMs: 2_000,
    countEveryMs: 5_000,
    aheadMs: 2_000,
};
const PAGE = 100;
const FIELDS = "id,revision,symbol,venue,interval,method,severity,direction,score,threshold,price,expected,lower,upper,change_pct," +
    "excess_pct,excursion_pct,rarity_days,source,timestamp,detected_at,state,spark,explanation,incident,review_state";
const SERIES_POINTS = 240;
const SERIES_EVERY_MS = 15_000;
const CHARTS_KEPT = 40;
const FLUSH_EVERY_MS = 100;
function unionOf(scopes) {
    const all = [...scopes];
    const join = (name) => all.some((scope) => scope[name].length === 0) ? [] : [...new Set(all.flatMap((scope) => scope[name]))].sort();
    return { channels: join("channels"), severities: join("severities"), symbols: join("symbols") };
}
const covers = (wide, narrow) => wide.length === 0 || (narrow.length > 0 && narrow.every((value) => wide.includes(value)));
const coversScope = (wide, narrow) => Object.keys(narrow).every((name) => covers(wide[name], narrow[name]));
class ServerError extends Error {
    status;
    constructor(message, status) {
        super(message);
        this.status = status;
    }
}
const TOKENS_KEY = "anomaly-tokens";
function storedTokens() {
    try {
        const stored = JSON.parse(localStorage.getItem(TOKENS_KEY) ?? "{}");
        return isRecord(stored) ? stored : {};
    }
    catch {
        return {};
    }
}
function tokenOf(server) {
    const token = storedTokens()[server];
    return typeof token === "string" ? token : "";
}
function keepToken(server, token) {
    const tokens = { ...storedTokens(), [server]: token };
    if (!token)
        delete tokens[server];
    try {
        localStorage.setItem(TOKENS_KEY, JSON.stringify(tokens));
        return true;
    }
    catch {
        return false;
    }
}
const UNAUTHORIZED = 4401;
const refusal = (token) => token
    ? "it refused the token: it expired, was revoked or may not read this"
    : "it needs a token, or that you sign in";
async function fetchText(address, path, silenceMs, token = "") {
    const control = new AbortController();
    let [timer, received, answered] = [undefined, 0, false];
    const wait = () => {
        clearTimeout(timer);
        timer = setTimeout(() => control.abort(), silenceMs);
    };
    const name = path.split("?")[0];
    try {
        wait();
        const headers = { Accept: "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
        const answer = await fetch(address, { headers, signal: control.signal });
        answered = true;
        if (answer.status === 401 || (answer.status === 403 && token))
            throw new ServerError(refusal(token), UNAUTHORIZED);
        if (!answer.ok)
            throw new ServerError(`${name} returned ${answer.status}`, answer.status);
        const reader = answer.body?.getReader();
        if (!reader)
            return await answer.text();
        const decoder = new TextDecoder();
        let text = "";
        for (;;) {
            wait();
            const { done, value } = await reader.read();
            if (done)
                return text + decoder.decode();
            received += value.length;
            text += decoder.decode(value, { stream: true });
        }
    }
    catch (error) {
        if (error instanceof ServerError)
            throw error;
        if (answered)
            throw new ServerError(`${name} stopped after ${plain(received / 1000, 0)} kB`, 200);
        const why = control.signal.aborted ? `for ${longAge(silenceMs)}` : `to ${name}`;
        throw new ServerError(`no answer ${why}`, 0);
    }
    finally {
        clearTimeout(timer);
    }
}
const SILENT_MS = 60_000;
const LEFT_MS = 3_600_000;
const AHEAD_MOST = 2_000;
function mainFeed(feeds, now) {
    const heard = feeds.filter(({ receivedAt }) => now - receivedAt < SILENT_MS);
    return (heard.length ? heard : feeds).reduce((best, feed) => (best && best.symbols >= feed.symbols ? best : feed), null);
}
const feedAge = (feed, now) => feed.ageMs + Math.max(0, now - feed.receivedAt);
class Pad {
    server;
    timing;
    store = new Store();
    feed = null;
    feeds = new Map();
    stress = null;
    stressSeries = [];
    sectors = new Map();
    status = {
        online: false,
        loaded: false,
        attempt: 0,
        lostAt: null,
        retryAt: null,
        error: "",
    };
    summary = null;
    skewMs = 0;
    version = 0;
    marketVersion = 0;
    connections = 0;
    onNews = new Set();
    panels = new Map();
    listeners = new Set();
    charts = new Map();
    candles = new Map();
    socket = null;
    cursor = null;
    subscription = null;
    complete = null;
    sentSince = false;
    refusals = 0;
    generation = 0;
    running = false;
    connecting = false;
    receivedAt = 0;
    openedAt = 0;
    retryTimer;
    watchTimer;
    lingerTimer;
    queue = [];
    flushing = false;
    flushedAt = 0;
    selects = true;
    wanted = null;
    counts = true;
    countedAt = 0;
    countedReplay = false;
    countTimer;
    recount = false;
    aheadTimer;
    sectorsAsked = false;
    older = new Map();
    clocks = [];
    ahead = [];
    constructor(server, timing = TIMING) {
        this.server = server;
        this.timing = timing;
    }
    static of(server) {
        const page = globalThis;
        page.__anomalyPads5 ??= new Map();
        let pad = page.__anomalyPads5.get(server);
        if (!pad)
            page.__anomalyPads5.set(server, (pad = new Pad(server)));
        return pad;
    }
    retain(scope) {
        const key = Symbol("panel");
        this.panels.set(key, scope);
        clearTimeout(this.lingerTimer);
        if (!this.running)
            this.start();
        else
            this.catchUp();
        return {
            change: (next) => {
                if (!this.panels.has(key))
                    return;
                this.panels.set(key, next);
                this.catchUp();
            },
            release: () => {
                this.panels.delete(key);
                clearTimeout(this.lingerTimer);
                if (this.panels.size === 0)
                    this.lingerTimer = setTimeout(() => this.panels.size === 0 && this.stop(), this.timing.lingerMs);
                else
                    this.catchUp();
            },
        };
    }
    subscribe = (listener) => {
        this.listeners.add(listener);
        return () => this.listeners.delete(listener);
    };
    getVersion = () => this.version;
    reconnect() {
        const { socket } = this;
        this.socket = null;
        socket?.close();
        this.generation += 1;
        this.connecting = this.sectorsAsked = false;
        this.status = { ...this.status, online: false, attempt: 0 };
        this.retryNow();
    }
    retryNow() {
        if (this.socket || this.connecting || this.panels.size === 0)
            return;
        clearTimeout(this.retryTimer);
        void this.connect();
    }
    chartOf(id) {
        let chart = this.charts.get(id);
        if (!chart) {
            chart = this.fetchJson(`/alerts/${encodeURIComponent(id)}`).then((answer) => {
                const review = normaliseReview(answer);
                if (review)
                    this.reviewed(id, review);
                return normaliseChart(answer);
            }, () => {
                this.charts.delete(id);
                return [];
            });
            this.charts.set(id, chart);
            if (this.charts.size > CHARTS_KEPT)
                this.charts.delete(this.charts.keys().next().value);
        }
        return chart;
    }
    earlierOf(alert) {
        const ranges = chartRanges(alert);
        if (ranges.length === 0)
            return Promise.resolve([]);
        const key = `${alert.id}:${ranges[0].from}`;
        let candles = this.candles.get(key);
        if (!candles) {
            candles = this.firstCandles(alert, ranges);
            this.candles.set(key, candles);
            if (this.candles.size > CHARTS_KEPT)
                this.candles.delete(this.candles.keys().next().value);
        }
        return candles;
    }
    async firstCandles(alert, ranges) {
        for (const { interval, from, to } of ranges) {
            const query = new URLSearchParams({
                symbol: alert.symbol,
                interval,
                from: `${from}`,
                to: `${to}`,
                limit: `${MOST_CANDLES}`,
            });
            if (alert.venue)
                query.set("venue", alert.venue);
            const answer = await this.fetchJson(`/candles?${query.toString()}`).catch(() => null);
            const found = normaliseCandles(answer);
            if (found.length > 1)
                return found;
        }
        return [];
    }
    reviewed(id, review) {
        this.store.setReview(id, review);
        this.changed();
    }
    feedAgeMs(now = Date.now()) {
        return this.feed ? feedAge(this.feed, now) : null;
    }
    isStale(now = Date.now(), feed = this.feed) {
        if (!feed)
            return false;
        const quiet = now - feed.receivedAt > 4 * this.timing.closeAfterMs ||
            feedAge(feed, now) > Math.max(15_000, 3 * intervalMs(feed.interval));
        return feed.state === "stale" || (feed.state === "ok" && quiet);
    }
    laggard(now = Date.now()) {
        const others = [...this.feeds.values()].filter((feed) => feed !== this.feed && now - feed.receivedAt < LEFT_MS);
        if (others.length === 0)
            return undefined;
        const late = others.filter((feed) => this.isStale(now, feed)).map((feed) => ({ feed, ageMs: feedAge(feed, now) }));
        const worst = late.sort((a, b) => b.ageMs - a.ageMs)[0];
        return worst ? { venue: worst.feed.venue, ageMs: worst.ageMs } : null;
    }
    marketNow(now = Date.now()) {
        return this.replay?.timestamp ?? now + this.skewMs;
    }
    get replay() {
        if (this.feed?.source !== "replay")
            return null;
        const timestamp = this.stress?.timestamp ?? this.store.newest;
        return timestamp > 0 ? { timestamp, speed: speedOf(this.clocks) } : null;
    }
    want(wanted) {
        if (JSON.stringify(wanted) === JSON.stringify(this.wanted))
            return;
        this.wanted = wanted;
        this.countedAt = 0;
        if (this.summary) {
            this.summary = null;
            this.changed();
        }
        this.countSoon();
    }
    olderOf(listQuery) {
        return this.older.get(listQuery) ?? { more: this.older.get("")?.more ?? false, loading: false, error: "" };
    }
    async loadOlder(listQuery) {
        const known = this.older.get(listQuery);
        if (known?.loading || this.store.entries.length >= KEPT_ALERTS)
            return;
        let next = known?.next ?? `/alerts?limit=${PAGE}${listQuery && `&${listQuery}`}`;
        const before = this.store.entries.length;
        try {
            for (;;) {
                this.older.set(listQuery, { next, more: true, loading: true, error: "" });
                this.changed();
                const answer = await this.select(next);
                const now = Date.now() + this.skewMs;
                for (const raw of resultsOf(answer).reverse())
                    this.add("alert", raw, now, "older");
                this.readOn(listQuery, answer);
                const read = this.older.get(listQuery);
                if (!read?.next || this.store.entries.length > before)
                    break;
                next = read.next;
            }
        }
        catch (error) {
            this.older.set(listQuery, { next, more: true, loading: false, error: messageOf(error) });
        }
        this.changed();
    }
    async load(id) {
        if (!this.store.byId.has(id)) {
            const answer = await this.fetchJson(`/alerts/${encodeURIComponent(id)}`).catch(() => null);
            if (isRecord(answer))
                this.add("alert", answer, Date.now() + this.skewMs, "older");
            this.changed();
        }
        return this.store.byId.has(id);
    }
    start() {
        this.running = true;
        this.generation += 1;
        this.watchTimer = setInterval(() => this.watch(), Math.min(5_000, this.timing.pingAfterMs / 2));
        globalThis.addEventListener?.("online", this.wake);
        globalThis.document?.addEventListener("visibilitychange", this.seen);
        void this.connect();
    }
    stop() {
        this.running = false;
        this.generation += 1;
        clearTimeout(this.retryTimer);
        clearInterval(this.watchTimer);
        globalThis.removeEventListener?.("online", this.wake);
        globalThis.document?.removeEventListener("visibilitychange", this.seen);
        clearTimeout(this.countTimer);
        clearTimeout(this.aheadTimer);
        this.countTimer = undefined;
        const socket = this.socket;
        this.socket = null;
        this.connecting = false;
        socket?.close(1000);
        this.status = { ...this.status, online: false, lostAt: null };
    }
    wake = () => this.retryNow();
    seen = () => {
        if (globalThis.document?.hidden)
            return;
        this.watch();
        this.retryNow();
        this.countSoon();
    };
    async fetchJson(path) {
        const text = await fetchText(this.server + path, path, this.timing.fetchMs, tokenOf(this.server));
        try {
            return JSON.parse(text);
        }
        catch {
            throw new ServerError(`${path.split("?")[0]} returned no JSON`, 200);
        }
    }
    async select(path) {
        if (!this.selects || path.includes("fields="))
            return this.fetchJson(path);
        try {
            return await this.fetchJson(`${path}&fields=${FIELDS}`);
        }
        catch (error) {
            if (!(error instanceof ServerError) || error.status !== 400)
                throw error;
            this.selects = false;
            return this.fetchJson(path);
        }
    }
    readOn(listQuery, answer) {
        const link = isRecord(answer) && typeof answer.next === "string" ? answer.next.split("?")[1] : undefined;
        const next = link ? `/alerts?${link}` : null;
        this.older.set(listQuery, { next, more: next !== null, loading: false, error: "" });
    }
    countSoon() {
        this.recount = true;
        if (this.countTimer !== undefined || !this.counts || !this.wanted || !this.status.loaded)
            return;
        if (globalThis.document?.hidden)
            return;
        const wait = Math.max(0, this.countedAt + this.timing.countEveryMs - Date.now());
        this.countTimer = setTimeout(() => void this.count(), Math.max(wait, this.timing.countEveryMs / 20));
    }
    async count() {
        const wanted = this.wanted;
        this.countedAt = Date.now();
        this.recount = false;
        const generation = this.generation;
        const ask = async (severities) => {
            const named = severities.length ? `severities=${severities.join(",")}` : "";
            this.countedReplay = this.replay !== null;
            const asOf = this.replay ? `as_of=${Math.round(this.replay.timestamp) + 1}` : "";
            const query = [wanted?.query, named, asOf].filter(Boolean).join("&");
            return normaliseCounts(await this.fetchJson(`/alerts/summary${query && `?${query}`}`));
        };
        try {
            const all = wanted && (await ask([]));
            const shown = wanted?.severities.length ? await ask(wanted.severities) : all;
            if (generation !== this.generation || wanted !== this.wanted)
                return;
            if (all && shown)
                this.summary = {
                    open: { ...shown.open, severities: all.open.severities },
                    last24h: { ...shown.last24h, severities: all.last24h.severities },
                };
            this.flushSoon();
        }
        catch (error) {
            if (error instanceof ServerError && (error.status === 404 || error.status === 400))
                this.counts = false;
            if (this.summary) {
                this.summary = null;
                this.changed();
            }
        }
        finally {
            this.countTimer = undefined;
            if (this.recount)
                this.countSoon();
        }
    }
    async connect() {
        const generation = this.generation;
        this.connecting = true;
        try {
            if (!this.cursor || this.lacks(unionOf(this.panels.values()))) {
                const cursor = await this.backfill();
                this.cursor ??= cursor;
            }
            if (generation === this.generation)
                this.open();
        }
        catch (error) {
            if (generation === this.generation)
                this.lost(messageOf(error), error instanceof ServerError ? error.status > 0 : true, error instanceof ServerError && error.status === UNAUTHORIZED);
        }
        finally {
            if (generation === this.generation)
                this.connecting = false;
        }
    }
    async backfill() {
        const scope = (this.complete = unionOf(this.panels.values()));
        this.older.clear();
        const [alerts, market] = await Promise.all([
            covers(scope.channels, ["alerts"]) ? this.fill("alert", this.select(`/alerts?limit=${PAGE}`)) : null,
            covers(scope.channels, ["market"]) ? this.fill("market", this.fetchJson(`/market?limit=${PAGE}`)) : null,
        ]).catch((error) => {
            this.complete = null;
            throw error;
        });
        this.status = { ...this.status, loaded: true };
        this.changed();
        this.countSoon();
        return olderCursor(cursorOf(alerts), cursorOf(market));
    }
    async fill(kind, page) {
        const answer = await page;
        const now = Date.now() + this.skewMs;
        for (const raw of resultsOf(answer).reverse())
            this.add(kind, raw, now, "past");
        if (kind === "alert") {
            this.status = { ...this.status, loaded: true };
            if (!this.older.has(""))
                this.readOn("", answer);
        }
        this.changed();
        return answer;
    }
    open() {
        const socket = new WebSocket(`${this.server.replace(/^http/, "ws")}/ws`);
        this.socket = socket;
        this.connections += 1;
        this.receivedAt = this.openedAt = Date.now();
        const token = tokenOf(this.server);
        socket.onopen = () => {
            if (token)
                this.send({ type: "auth", token });
            this.subscribeTo("subscribe");
        };
        socket.onmessage = (event) => {
            if (this.socket !== socket)
                return;
            this.receivedAt = Date.now();
            try {
                const frame = JSON.parse(String(event.data));
                if (isRecord(frame))
                    this.receive(frame);
                else
                    this.store.skipped += 1;
            }
            catch {
                this.store.skipped += 1;
            }
        };
        socket.onerror = () => undefined;
        socket.onclose = (event) => {
            if (this.socket !== socket)
                return;
            this.socket = null;
            const refused = event.code === UNAUTHORIZED;
            const reason = event.reason || `connection closed (code ${event.code})`;
            this.lost(refused ? refusal(token) : reason, event.code !== 1006, refused);
        };
    }
    subscribeTo(type) {
        const scope = unionOf(this.panels.values());
        const since = type === "subscribe" ? this.cursor : null;
        this.sentSince = since !== null;
        this.subscription = scope;
        if (this.complete && !coversScope(scope, this.complete))
            this.complete = coversScope(this.complete, scope) ? scope : null;
        const channels = scope.channels.length ? scope.channels : ["alerts", "market"];
        this.send({ type, filters: { ...scope, channels }, ...(since && { since }) });
    }
    catchUp() {
        if (!this.status.online)
            return;
        const scope = unionOf(this.panels.values());
        if (JSON.stringify(scope) !== JSON.stringify(this.subscription))
            this.subscribeTo("update_filters");
        if (this.lacks(scope))
            void this.backfill().catch(() => this.socket?.close());
    }
    lacks(scope) {
        return !this.complete || !coversScope(this.complete, scope);
    }
    receive(frame) {
        if (frame.type === "subscribed")
            return this.subscribed(frame);
        if (frame.type === "authenticated")
            return;
        if (frame.type === "heartbeat") {
            this.cursor = cursorOf(frame) ?? this.cursor;
            const ts = toTime(frame.ts);
            if (ts !== null)
                this.skewMs = ts - Date.now();
            return;
        }
        const offset = toNumber(frame.offset);
        if (offset !== null && this.cursor && frame.more !== true)
            this.cursor = { epoch: this.cursor.epoch, offset: Math.max(this.cursor.offset, offset) };
        this.queue.push(frame);
        this.flushSoon();
    }
    subscribed(frame) {
        if (this.sentSince && frame.recovered === false && this.refusals < 2) {
            this.refusals += 1;
            this.backfill().then((cursor) => {
                this.cursor = cursor;
                this.subscribeTo("subscribe");
            }, () => this.socket?.close());
            return;
        }
        if (!this.sentSince || frame.recovered === false)
            this.cursor = cursorOf(frame);
        this.refusals = 0;
        this.status = { online: true, loaded: true, attempt: 0, lostAt: null, retryAt: null, error: "", answered: true };
        this.changed();
        this.catchUp();
        this.countSoon();
    }
    lost(error, answered, refused = false) {
        this.counts = this.selects = true;
        const attempt = this.status.attempt + 1;
        const most = Math.min(this.timing.mostBackoffMs, this.timing.firstBackoffMs * 2 ** (attempt - 1));
        const delay = refused ? this.timing.mostBackoffMs : most * (0.5 + Math.random() / 2);
        const now = Date.now();
        this.status = {
            ...this.status,
            online: false,
            attempt,
            error,
            answered,
            refused,
            lostAt: this.status.lostAt ?? now,
            retryAt: now + delay,
        };
        clearTimeout(this.retryTimer);
        this.retryTimer = setTimeout(() => void this.connect(), delay);
        this.changed();
    }
    watch() {
        const socket = this.socket;
        if (!socket)
            return;
        const silence = Date.now() - (this.status.online ? this.receivedAt : this.openedAt);
        if (silence > this.timing.closeAfterMs) {
            this.socket = null;
            socket.close();
            this.lost("the server stopped responding", false);
        }
        else if (silence > this.timing.pingAfterMs)
            this.send({ type: "ping" });
    }
    send(message) {
        if (this.socket?.readyState === 1)
            this.socket.send(JSON.stringify(message));
    }
    flushSoon() {
        if (this.flushing)
            return;
        this.flushing = true;
        const flush = () => {
            this.flushing = false;
            this.flushedAt = Date.now();
            const frames = this.queue;
            this.queue = [];
            const now = Date.now();
            for (const frame of frames)
                this.apply(frame, now);
            this.release(now);
            if (this.summary && (this.replay !== null) !== this.countedReplay) {
                clearTimeout(this.countTimer);
                this.countTimer = undefined;
                this.countedAt = 0;
                this.countSoon();
            }
            this.changed();
        };
        const draw = () => typeof requestAnimationFrame === "function" && !globalThis.document?.hidden
            ? requestAnimationFrame(flush)
            : setTimeout(flush, 50);
        const wait = this.flushedAt + FLUSH_EVERY_MS - Date.now();
        if (wait > 0)
            setTimeout(draw, wait);
        else
            draw();
    }
    apply(frame, now) {
        if (frame.type === "alert" || frame.type === "market") {
            const timestamp = isRecord(frame.data) ? toTime(pick(frame.data, "timestamp", "time", "ts")) : null;
            const clock = this.feed?.source === "replay" ? this.stress?.timestamp : undefined;
            if (clock !== undefined && timestamp !== null && timestamp > clock)
                this.ahead.push({ kind: frame.type, raw: frame.data, timestamp, arrived: now });
            else
                this.add(frame.type, frame.data, now + this.skewMs, "news");
        }
        else if (frame.type === "feed") {
            const feed = normaliseFeed(frame.data, now);
            if (!feed)
                return void (this.store.skipped += 1);
            this.feeds.set(feed.venue, { ...feed, receivedAt: now });
            this.feed = mainFeed([...this.feeds.values()], now);
            this.skewMs = feed.timestamp - now;
        }
        else if (frame.type === "stress") {
            const stress = normaliseStress(frame.data, now + this.skewMs);
            if (!stress)
                return void (this.store.skipped += 1);
            const main = this.feed?.venue;
            if (main && stress.venue && stress.venue !== main && this.stress?.venue === main)
                return;
            if (this.stress && this.stress.venue !== stress.venue)
                [this.stress, this.stressSeries] = [null, []];
            this.marketVersion += 1;
            if (!this.stress)
                void this.loadStressSeries(now, stress.venue);
            if (stress.sectors.length > 0 && !this.stress?.sectors.length)
                void this.loadSectors();
            this.stress = stress;
            if (this.feed?.source === "replay" && now - (this.clocks[this.clocks.length - 1]?.at ?? 0) >= CLOCK_EVERY_MS)
                this.clocks = [...this.clocks.slice(1 - CLOCKS), { at: now, timestamp: stress.timestamp }];
            const last = this.stressSeries[this.stressSeries.length - 1];
            if (!last || stress.timestamp - last.timestamp >= SERIES_EVERY_MS)
                this.stressSeries = [
                    ...this.stressSeries.slice(1 - SERIES_POINTS),
                    { timestamp: stress.timestamp, index: stress.index },
                ];
        }
    }
    release(now) {
        if (this.ahead.length === 0)
            return;
        const clock = this.feed?.source === "replay" ? (this.stress?.timestamp ?? Infinity) : Infinity;
        const waiting = this.ahead;
        const surplus = waiting.length - AHEAD_MOST;
        this.ahead = [];
        for (const [i, frame] of waiting.entries())
            if (i >= surplus && frame.timestamp > clock && now - frame.arrived < this.timing.aheadMs)
                this.ahead.push(frame);
            else
                this.add(frame.kind, frame.raw, now + this.skewMs, "news");
        clearTimeout(this.aheadTimer);
        if (this.ahead.length)
            this.aheadTimer = setTimeout(() => this.flushSoon(), this.ahead[0].arrived + this.timing.aheadMs - now);
    }
    async loadStressSeries(now, venue) {
        const query = venue && `?venue=${encodeURIComponent(venue)}`;
        const answer = await this.fetchJson(`/market/stress${query}`).catch(() => null);
        if (this.stress?.venue !== venue)
            return;
        const points = resultsOf(answer)
            .map((raw) => normaliseStress(raw, now))
            .filter((point) => point !== null);
        const merged = [...points.map(({ timestamp, index }) => ({ timestamp, index })), ...this.stressSeries].sort((a, b) => a.timestamp - b.timestamp);
        this.stressSeries = merged.slice(-SERIES_POINTS);
        this.marketVersion += 1;
        this.changed();
    }
    async loadSectors() {
        if (this.sectors.size > 0 || this.sectorsAsked)
            return;
        this.sectorsAsked = true;
        this.sectors = normaliseSectors(await this.fetchJson("/sectors").catch(() => null));
        this.sectorsAsked = false;
        this.marketVersion += 1;
        this.changed();
    }
    add(kind, raw, now, age) {
        if (kind === "alert") {
            const alert = normaliseAlert(raw, now);
            if (!alert)
                this.store.skipped += 1;
            else if (this.store.addAlert(alert, age === "news" ? Date.now() : 0, age === "older") === "news" &&
                age === "news")
                for (const announce of this.onNews)
                    announce(alert);
            if (age === "news")
                this.countSoon();
        }
        else {
            const item = normaliseMarket(raw, now);
            if (!item)
                this.store.skipped += 1;
            else if (this.store.addMarket(item))
                this.marketVersion += 1;
        }
    }
    changed() {
        this.version += 1;
        time.aheadMs = this.marketNow() - Date.now();
        for (const listener of [...this.listeners])
            listener();
    }
}
const messageOf = (error) => (error instanceof Error ? error.message : String(error));
const CLOCKS = 20;
const CLOCK_EVERY_MS = 900;
function speedOf(clocks) {
    const [first, last] = [clocks[1], clocks[clocks.length - 1]];
    const wall = first && last ? last.at - first.at : 0;
    if (!first || !last || wall < 2_500 || last.timestamp <= first.timestamp)
        return null;
    const speed = (last.timestamp - first.timestamp) / wall;
    return speed >= 10 ? Math.round(speed) : Math.round(speed * 10) / 10;
}
function intervalMs(interval) {
    const match = /^(\d+)([smhd])$/.exec(interval);
    return match ? Number(match[1]) * { s: 1e3, m: 6e4, h: 36e5, d: 864e5 }[match[2]] : 1e3;
}
const resultsOf = (answer) => [
    ...toList(isRecord(answer) ? (answer.results ?? answer.history) : answer),
];
function cursorOf(answer) {
    const cursor = isRecord(answer) && isRecord(answer.cursor) ? answer.cursor : null;
    const offset = toNumber(cursor?.offset);
    const epoch = cursor?.epoch;
    return offset !== null && (typeof epoch === "number" || typeof epoch === "string") ? { epoch, offset } : null;
}
const olderCursor = (a, b) => !a ? b : !b ? a : a.epoch !== b.epoch || a.offset <= b.offset ? a : b;
const WINDOWS = ["1m", "5m", "15m", "1h"];
const defaults = () => globalThis.__anomalyDefaults ?? {};
const CHANNELS = ["alerts", "market"];
const INITIAL = {
    server: "http://localhost:3001",
    layout: "compact",
    sort: { key: "severity", down: true },
    window: "15m",
    theme: "system",
    hiddenSeverities: [],
    methods: [],
    channels: [],
    search: "",
    group: null,
    onlyActive: false,
    onlyPositions: false,
    hideClosed: false,
    muted: {},
    restMuted: null,
    sound: "OFF",
    soundOn: "HIGH",
    notify: "OFF",
    orders: false,
    orderUsd: 100,
};
const NO_FILTERS = {
    hiddenSeverities: [],
    methods: [],
    search: "",
    group: null,
    onlyActive: false,
    onlyPositions: false,
    hideClosed: false,
};
const MUTE_MS = 3_600_000;
const VIEW_KEYS = [
    ...Object.keys(NO_FILTERS),
    "channels",
    "layout",
    "sort",
    "window",
];
const listed = (query, ...names) => names
    .flatMap((name) => query.getAll(name))
    .flatMap((value) => value.split(","))
    .map((value) => value.trim())
    .filter(Boolean);
const isOneOf = (values, value) => values.includes(value);
const searchedIn = (search) => search
    .split(/[\s,]+/)
    .map(canonical)
    .filter(Boolean);
function viewOf(text) {
    const query = new URLSearchParams(text);
    const [tab, alert] = [query.get("tab") === "market" ? "market" : "alerts", query.get("alert")];
    const severities = listed(query, "severity", "severities").map((word) => word.toUpperCase());
    const [sector, group] = [query.get("sector"), query.get("group")];
    const named = listed(query, "symbol", "symbols").map(canonical).filter(Boolean);
    const states = listed(query, "state").map((word) => word.toUpperCase());
    const only = listed(query, "only");
    const [, minus, key] = /^(-?)(\w+)$/.exec(query.get("sort") ?? "") ?? [];
    const [layout, window] = [query.get("layout"), query.get("window")];
    const found = {
        ...NO_FILTERS,
        channels: listed(query, "channels").filter((channel) => CHANNELS.includes(channel)),
        hiddenSeverities: severities.length ? SEVERITIES.filter((severity) => !severities.includes(severity)) : [],
        methods: listed(query, "method", "methods").map((word) => toWord(word, "")),
        search: group === null ? named.join(", ") : "",
        group: sector
            ? { label: sector.slice(0, 60), symbols: [] }
            : group
                ? { label: group.slice(0, 60), symbols: named }
                : null,
        onlyActive: only.includes("active"),
        onlyPositions: only.includes("positions"),
        hideClosed: states.length > 0 && !states.includes("CLOSED"),
        ...(LAYOUTS.some((other) => other.layout === layout) && { layout: layout }),
        ...(isOneOf(WINDOWS, window) && { window }),
        ...(key && Object.hasOwn(SORT_LABELS, key) && { sort: { key: key, down: minus === "-" } }),
    };
    const known = [
        "symbol",
        "symbols",
        "severity",
        "severities",
        "method",
        "methods",
        "sector",
        "group",
        "state",
        "only",
    ];
    const has = [...known, "channels", "layout", "window", "sort", "alert", "tab"].some((name) => query.has(name));
    return { settings: has ? found : null, tab, alert: alert?.slice(0, 200) || null };
}
function queryOf(settings, { tab = "alerts", alert = null, sectors = new Map() } = {}) {
    const shown = SEVERITIES.filter((severity) => !settings.hiddenSeverities.includes(severity));
    const { group, sort } = settings;
    const isSector = group !== null && (group.symbols.length === 0 || sectors.has(group.label));
    const query = [
        ["symbol", group === null || isSector ? searchedIn(settings.search).join() : ""],
        ["sector", isSector ? group.label : ""],
        ["group", group && !isSector ? group.label : ""],
        ["symbols", group && !isSector ? group.symbols.join() : ""],
        ["severity", settings.hiddenSeverities.length ? shown.join() || "NONE" : ""],
        ["method", settings.methods.join()],
        ["state", settings.hideClosed ? "OPEN,ESCALATED" : ""],
        ["only", [settings.onlyActive ? "active" : "", settings.onlyPositions ? "positions" : ""].filter(Boolean).join()],
        ["channels", settings.channels.join()],
        ["tab", tab === "market" ? tab : ""],
        ["alert", alert ?? ""],
    ];
    const isInitial = settings.layout === INITIAL.layout &&
        settings.window === INITIAL.window &&
        sort.key === INITIAL.sort.key &&
        sort.down === INITIAL.sort.down;
    const given = query.filter(([, value]) => value !== "");
    if (given.length || !isInitial)
        given.push(["layout", settings.layout], ["window", settings.window], ["sort", `${sort.down ? "-" : ""}${sort.key}`]);
    return given
        .map(([name, value]) => `${name}=${encodeURIComponent(value).replace(/%2C/g, ",").replace(/%20/g, "+")}`)
        .join("&");
}
const settingsAtom = api.jotai.createStorageAtom("anomaly-panel", {});
const viewIn = (settings) => Object.fromEntries(VIEW_KEYS.filter((key) => key in settings).map((key) => [key, settings[key]]));
function useSettings() {
    const [stored, setStored] = api.jotai.useAtom(settingsAtom);
    const { address } = defaults();
    const own = React.useMemo(() => ({ ...INITIAL, ...defaults(), ...(isRecord(stored) ? stored : {}) }), [stored]);
    const here = () => (address ? { ...viewIn(own), ...viewOf(address.read()).settings } : null);
    const [view, setView] = React.useState(here);
    React.useEffect(() => address?.subscribe(() => setView((old) => ({ ...old, ...viewOf(address.read()).settings }))), [address]);
    const settings = React.useMemo(() => ({ ...own, ...view }), [own, view]);
    const change = React.useCallback((next) => {
        setStored((old) => ({ ...old, ...next }));
        setView((old) => old && { ...old, ...viewIn(next) });
    }, [setStored]);
    return [settings, change];
}
const ZONE_CHANGED = "anomaly-timezone";
function useTimezone() {
    const subscribe = React.useCallback((changed) => {
        const read = (event) => {
            time.zone = event instanceof CustomEvent ? event.detail : storedTimezone();
            changed();
        };
        globalThis.addEventListener("storage", read);
        globalThis.addEventListener(ZONE_CHANGED, read);
        return () => {
            globalThis.removeEventListener("storage", read);
            globalThis.removeEventListener(ZONE_CHANGED, read);
        };
    }, []);
    const zone = React.useSyncExternalStore(subscribe, () => time.zone, () => time.zone);
    const change = React.useCallback((next) => {
        try {
            localStorage.setItem(TIMEZONE_KEY, next);
        }
        catch {
        }
        globalThis.dispatchEvent(new CustomEvent(ZONE_CHANGED, { detail: next }));
    }, []);
    return [zone, change];
}
const valuesOf = (collection) => Array.isArray(collection) ? collection : Object.values(collection ?? {});
function useHost() {
    const [activeSymbol] = api.hooks.useActiveSymbol();
    const [account] = api.hooks.useActiveAccount();
    const markets = api.hooks.useMarkets(account ?? undefined);
    const positions = api.hooks.usePositions({ includeMultipleAccounts: true });
    const bySymbol = React.useMemo(() => {
        const index = new Map();
        for (const market of valuesOf(markets)) {
            if (!market?.symbol)
                continue;
            for (const name of [market.symbol, market.id])
                if (name)
                    index.set(canonical(name), { symbol: market.symbol, step: market.precision?.price });
        }
        return index;
    }, [markets]);
    return React.useMemo(() => ({
        active: canonical(activeSymbol),
        account: account ?? "",
        positions: new Set(valuesOf(positions).map((position) => canonical(position?.symbol))),
        priceStep: (symbol) => bySymbol.get(symbol)?.step,
        marketOf: (symbol) => bySymbol.get(symbol)?.symbol ?? null,
        openChart: ({ symbol, venue }) => {
            const market = bySymbol.get(symbol);
            if (market)
                api.utils.setActiveSymbol(market.symbol, account ?? undefined);
            else if (account)
                api.toast.warning(`${symbol} is not listed on ${account}.`);
            else
                window.open(marketLinks(venue, symbol).tradingView, "_blank", "noopener");
        },
    }), [activeSymbol, account, positions, bySymbol]);
}
function useReviewing(pad) {
    const { reviewing } = defaults();
    const here = reviewing?.server === pad.server ? reviewing : null;
    const [signedOut, setSignedOut] = React.useState(here?.user === null);
    const mode = !here ? "open" : signedOut ? "sign in" : "acknowledge";
    const review = React.useCallback((alert, change = { review_state: "acknowledged" }) => {
        if (!here)
            return void window.open(pageOf(pad.server, alert), "_blank", "noopener");
        if (mode === "sign in") {
            window.addEventListener("focus", () => setSignedOut(false), { once: true });
            return void window.open(here.signIn, "_blank", "noopener");
        }
        if (change.review_state === "acknowledged" && isReviewed(alert))
            return;
        const answer = here.review ? here.review(alert.id, change) : here.acknowledge(alert.id);
        answer.then((item) => pad.reviewed(alert.id, normaliseReview(item)), (status) => {
            if (status === 403)
                setSignedOut(true);
            api.toast.error(status === 403
                ? "You are signed out. Sign in to review."
                : `${alert.symbol} could not be ${change.review_note === undefined ? "reviewed" : "noted"} (${String(status)}).`);
        });
    }, [here, mode, pad]);
    return { mode, review };
}
const isReviewed = (alert) => alert.review !== null && alert.review.state !== "NEW";
const REVIEW_LABELS = {
    acknowledge: "Acknowledge",
    "sign in": "Sign in to review",
    open: "Review",
};
async function copyText(text) {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    }
    catch {
        const area = document.createElement("textarea");
        area.value = text;
        area.style.position = "fixed";
        document.body.append(area);
        area.select();
        const done = document.execCommand?.("copy") ?? false;
        area.remove();
        return done;
    }
}
const copied = (text, what) => void copyText(text).then((done) => done ? api.toast.success(what) : api.toast.error("The browser did not allow copying."));
function wantedOf(settings, host, known) {
    const searched = searchedIn(settings.search);
    const { group } = settings;
    const coins = group && new Set(group.symbols.map(coinOf));
    const query = [];
    if (searched.length || group || settings.onlyActive || settings.onlyPositions) {
        const whole = [...searched.filter((word) => splitSymbol(word)[1] !== ""), ...(group?.symbols ?? [])];
        const symbols = [...new Set([...known, ...whole, host.active, ...host.positions])].filter((symbol) => symbol !== "" &&
            (searched.length === 0 || searched.some((word) => symbol.includes(word))) &&
            (!coins || coins.has(coinOf(symbol))) &&
            (!settings.onlyActive || symbol === host.active) &&
            (!settings.onlyPositions || host.positions.has(symbol)));
        if (symbols.length === 0 || symbols.length > 400)
            return null;
        query.push(`symbols=${symbols.sort().map(encodeURIComponent).join()}`);
    }
    if (settings.methods.length)
        query.push(`methods=${settings.methods.map(encodeURIComponent).join()}`);
    if (settings.hideClosed)
        query.push("state=OPEN,ESCALATED");
    const severities = SEVERITIES.filter((severity) => !settings.hiddenSeverities.includes(severity));
    if (severities.length === 0)
        return null;
    return { query: query.join("&"), severities: settings.hiddenSeverities.length ? severities : [] };
}
const listQueryOf = ({ query, severities }) => [query, severities.length ? `severities=${severities.join()}` : ""].filter(Boolean).join("&");
function themeOf(theme) {
    const name = isRecord(theme) ? (theme.name ?? theme.mode ?? theme.type) : theme;
    return String(name).toLowerCase().includes("light") ? "light" : "dark";
}
const SOUND_EVERY_MS = 3_000;
const RANK = { LOW: 0, MEDIUM: 1, HIGH: 2, CRITICAL: 3 };
const rankOf = (severity) => RANK[severity] ?? 0;
const reaches = (severity, least) => least !== "OFF" && rankOf(severity) >= rankOf(least);
function mayAnnounce(kind) {
    try {
        const key = `anomaly-panel-${kind}-at`;
        const last = Number(localStorage.getItem(key) ?? 0);
        if (Date.now() - last < SOUND_EVERY_MS)
            return false;
        localStorage.setItem(key, String(Date.now()));
    }
    catch {
    }
    return true;
}
const canSound = () => typeof AudioContext !== "undefined";
const TONES = { CRITICAL: [880, 660, 880], HIGH: [740, 880] };
let audio = null;
async function beep(severity) {
    const requestedAt = Date.now();
    audio ??= new AudioContext();
    await audio.resume();
    if (Date.now() - requestedAt > 1_000)
        return;
    const start = audio.currentTime;
    for (const [i, tone] of (TONES[severity] ?? [660]).entries()) {
        const [oscillator, gain] = [audio.createOscillator(), audio.createGain()];
        const from = start + i * 0.14;
        oscillator.frequency.value = tone;
        gain.gain.setValueAtTime(0.06, from);
        gain.gain.exponentialRampToValueAtTime(0.0001, from + 0.12);
        oscillator.connect(gain).connect(audio.destination);
        oscillator.start(from);
        oscillator.stop(from + 0.13);
    }
}
function notify(alert, open) {
    if (typeof Notification === "undefined" || Notification.permission !== "granted")
        return;
    const notification = new Notification(`${words(alert.severity)}: ${alert.symbol}`, {
        body: alertSentence(alert),
        tag: `${alert.id}:${alert.revision}`,
    });
    notification.onclick = () => {
        globalThis.focus();
        open();
        notification.close();
    };
}
const HEIGHTS = { compact: 28, cards: 106, table: 24, incident: 40, more: 26 };
const TOUCH_HEIGHTS = { compact: 44, cards: 114, table: 44, incident: 48, more: 44 };
const INCIDENT_TOP = 3;
const PINNED_MOST = 3;
const byNewest = (a, b) => b.timestamp - a.timestamp || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
const byGravity = (a, b) => Number(isClosed(a)) - Number(isClosed(b)) ||
    rankOf(b.severity) - rankOf(a.severity) ||
    (b.rarityDays ?? -1) - (a.rarityDays ?? -1) ||
    byNewest(a, b);
const SORTS = {
    age: (alert) => alert.timestamp,
    symbol: (alert) => alert.symbol,
    change: (alert) => alert.changePct,
    rarity: (alert) => alert.rarityDays,
    score: (alert) => (alert.score === null ? null : Math.abs(alert.score)),
    price: (alert) => alert.price,
};
function orderOf({ key, down }) {
    if (key === "severity" || !Object.hasOwn(SORTS, key))
        return down
            ? byGravity
            : (a, b) => Number(isClosed(a)) - Number(isClosed(b)) || rankOf(a.severity) - rankOf(b.severity) || byGravity(a, b);
    const value = SORTS[key];
    const sign = down ? -1 : 1;
    return (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === null || y === null)
            return Number(x === null) - Number(y === null) || byGravity(a, b);
        return sign * (x < y ? -1 : x > y ? 1 : 0) || byGravity(a, b);
    };
}
function heldOrder(held, order) {
    if (!held)
        return order;
    const place = (alert) => held.get(alert.id)?.place ?? Infinity;
    return (a, b) => {
        const [x, y] = [place(a), place(b)];
        return x === y ? order(a, b) : x - y;
    };
}
function holdOf(list) {
    const held = new Map();
    for (const { incident, rows } of list.units) {
        if (incident)
            held.set(leadId(incident), { place: held.size, incident });
        for (const row of rows)
            for (const { alert } of sortedRow(row, null))
                held.set(alert.id, { place: held.size, incident });
    }
    return held;
}
function layoutList(entries, options) {
    const bySymbol = new Map();
    const openSymbols = new Set();
    const venues = new Set();
    const [pinned, within] = [[], heldOrder(options.held, byGravity)];
    let [shown, hidden, waiting, waitingCritical, openAlerts] = [0, 0, 0, 0, 0];
    for (let i = entries.length - 1; i >= 0; i -= 1) {
        const entry = entries[i];
        const { alert } = entry;
        venues.add(alert.venue);
        if (!options.accepts(alert)) {
            hidden += 1;
            continue;
        }
        if (!isClosed(alert)) {
            openAlerts += 1;
            openSymbols.add(alert.symbol);
        }
        if (entry.seq > options.cutoff && alert.id !== options.expanded) {
            const critical = alert.severity === "CRITICAL";
            if (critical && options.pins && !isClosed(alert) && pinned.length < PINNED_MOST) {
                pinned.push(entry);
                continue;
            }
            waiting += 1;
            if (critical)
                waitingCritical += 1;
            continue;
        }
        shown += 1;
        const key = marketKey(alert);
        const row = bySymbol.get(key);
        if (!row) {
            bySymbol.set(key, [entry]);
            continue;
        }
        row.push(entry);
        const [top] = row;
        if (within(alert, top.alert) < 0)
            [row[0], row[row.length - 1]] = [entry, top];
    }
    const order = heldOrder(options.held, orderOf(options.sort));
    const rows = [...bySymbol.values()].sort((a, b) => order(a[0].alert, b[0].alert));
    const units = options.layout === "table"
        ? rows.map((row) => ({ incident: null, rows: [row] }))
        : foldedUnits(rows, order, options);
    const items = units.flatMap((unit) => itemsOf(unit, options));
    const tops = [];
    let height = 0;
    for (const item of items) {
        tops.push(height);
        height += item.height;
    }
    const folded = items.reduce((sum, item) => sum + (item.kind === "incident" ? item.count : 0), 0);
    const open = { alerts: openAlerts, symbols: openSymbols.size };
    return {
        items,
        tops,
        height,
        shown,
        open,
        hidden,
        waiting,
        waitingCritical,
        folded,
        pinned,
        units,
        venues: venues.size > 1,
    };
}
const marketKey = ({ symbol, venue }) => `${symbol} ${venue}`;
const heightsOf = ({ touch }) => (touch ? TOUCH_HEIGHTS : HEIGHTS);
function alertItem(row, nested, options) {
    const { layout, held, expanded, expandedHeight } = options;
    const [entry] = row;
    const shown = expanded === null ? undefined : row.find(({ alert }) => alert.id === expanded);
    return {
        kind: "alert",
        key: entry.alert.id,
        entry,
        count: row.length,
        all: shown ? sortedRow(row, held) : [],
        shown: shown ?? entry,
        nested,
        expanded: shown !== undefined,
        height: heightsOf(options)[nested ? "compact" : layout] + (shown ? expandedHeight : 0),
    };
}
function sortedRow(row, held) {
    const order = heldOrder(held, byGravity);
    return [...row].sort((a, b) => order(a.alert, b.alert));
}
function foldedUnits(rows, order, { held, incidents, sort }) {
    const units = [];
    const adopted = new Map();
    for (const row of rows) {
        const { alert } = row[0];
        const was = held?.get(alert.id);
        const incident = was ? was.incident : alert.incident;
        const anomaly = incident ? incidents.get(incident) : undefined;
        const known = incident ? adopted.get(incident) : undefined;
        if (known)
            known.rows.push(row);
        else if (!incident || !anomaly)
            units.push({ incident: null, rows: [row], lead: alert });
        else {
            const { severity, state, timestamp } = anomaly;
            const own = sort.key === "severity" ? { severity, state, timestamp, rarityDays: null } : {};
            const unit = { incident, rows: [row], lead: { ...alert, ...own, id: leadId(incident) } };
            adopted.set(incident, unit);
            units.push(unit);
        }
    }
    return units.sort((a, b) => order(a.lead, b.lead));
}
const leadId = (incident) => `incident:${incident}`;
function itemsOf({ incident, rows }, options) {
    if (!incident)
        return rows.map((row) => alertItem(row, false, options));
    const open = !options.folded.has(incident);
    const head = {
        kind: "incident",
        key: leadId(incident),
        anomaly: options.incidents.get(incident),
        count: rows.flat().filter(({ alert }) => alert.incident === incident).length,
        open,
        height: heightsOf(options).incident,
    };
    if (!open)
        return [head];
    const visible = options.unfolded.has(incident) ? rows : rows.slice(0, INCIDENT_TOP);
    const items = [head, ...visible.map((row) => alertItem(row, true, options))];
    if (rows.length <= INCIDENT_TOP)
        return items;
    const rest = rows.length - visible.length;
    return [...items, { kind: "more", key: `more:${incident}`, incident, rest, height: heightsOf(options).more }];
}
function itemAt(tops, y) {
    let [low, high] = [0, tops.length];
    while (low < high) {
        const middle = (low + high) >> 1;
        if (tops[middle] <= y)
            low = middle + 1;
        else
            high = middle;
    }
    return Math.max(0, low - 1);
}
const ICONS = {
    search: "M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9ZM10.4 10.4 13.5 13.5",
    filter: "M2.2 3h11.6L9.4 8.3v4.9L6.6 11.6V8.3Z",
    sound: "M2.5 6v4h2.4L8.3 13V3L4.9 6ZM10.7 5.6a3.4 3.4 0 0 1 0 4.8M12.6 3.8a6 6 0 0 1 0 8.4",
    mute: "M2.5 6v4h2.4L8.3 13V3L4.9 6ZM11 6.2l3.4 3.6M14.4 6.2 11 9.8",
    pause: "M5.5 3v10M10.5 3v10",
    play: "M4.8 3v10l8-5Z",
    gear: "M8 5.7a2.3 2.3 0 1 1 0 4.6 2.3 2.3 0 0 1 0-4.6ZM8 1.8v1.9M8 12.3v1.9M1.8 8h1.9M12.3 8h1.9M3.6 3.6 5 5M11 11l1.4 1.4M12.4 3.6 11 5M5 11l-1.4 1.4",
    compact: "M2.5 4h11M2.5 8h11M2.5 12h11",
    cards: "M2.5 2.8h11v4h-11ZM2.5 9.2h11v4h-11Z",
    table: "M2.5 2.8h11v10.4h-11ZM2.5 6.3h11M2.5 9.8h11M6 2.8v10.4",
    chart: "M2.5 2.5v11h11M5 10l2.6-3 2 1.6L13 4.4",
    copy: "M5.5 5.5h8v8h-8ZM3 10.5h-.5v-8h8V3",
    bell: "M3.8 11.2V7.4a4.2 4.2 0 0 1 8.4 0v3.8l1 1H2.8ZM6.6 14h2.8M2.5 2.5l11 11",
    check: "M3 8.4 6.4 11.8 13 4.6",
    down: "M4 6l4 4 4-4",
    right: "M6 4l4 4-4 4",
    up: "M8 13V3.5M4.2 7 8 3.2 11.8 7",
    falling: "M8 3v9.5M4.2 9 8 12.8 11.8 9",
    page: "M3.5 2h6l3 3v9h-9ZM9.5 2v3h3M5.5 8h5M5.5 10.8h5",
    note: "M2.5 11V13.5H5L13.2 5.3 10.7 2.8ZM9 4.5 11.5 7",
    close: "M4 4l8 8M12 4l-8 8",
    open: "M6.5 3.5h-3v9h9v-3M9 3h4v4M13 3 7.5 8.5",
    escalated: "M4.5 8 8 4.5 11.5 8M4.5 12 8 8.5 11.5 12",
    incident: "M4 8 11 4M4 8l7 4M4 6.4a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2ZM11.5 2.4a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2ZM11.5 10.4a1.6 1.6 0 1 1 0 3.2 1.6 1.6 0 0 1 0-3.2Z",
    flask: "M6 2.5h4M6.8 2.5v4L3.2 12.6c-.3.5.1 1 .6 1h8.4c.5 0 .9-.5.6-1L9.2 6.5v-4M5 10.4h6",
    replay: "M2.8 4v8L8 8ZM8.2 4v8l5.2-4Z",
    clock: "M8 2.2a5.8 5.8 0 1 1 0 11.6A5.8 5.8 0 0 1 8 2.2ZM8 5v3.2l2.2 1.4",
    plug: "M5.5 2.2v3M10.5 2.2v3M3.8 5.2h8.4v2.4a4.2 4.2 0 0 1-8.4 0ZM8 11.8v2.4",
    warning: "M8 2.2 14.2 13.3H1.8ZM8 6.3v3.2M8 11.2v.6",
    sectors: "M2.5 2.5h4.6v4.6H2.5ZM8.9 2.5h4.6v4.6H8.9ZM2.5 8.9h4.6v4.6H2.5ZM8.9 8.9h4.6v4.6H8.9Z",
    more: "M3 8h.01M8 8h.01M13 8h.01",
    link: "M6.8 9.2a2.6 2.6 0 0 0 3.7 0l2.2-2.2a2.6 2.6 0 0 0-3.7-3.7l-.8.8M9.2 6.8a2.6 2.6 0 0 0-3.7 0L3.3 9a2.6 2.6 0 0 0 3.7 3.7l.8-.8",
    keys: "M1.8 4h12.4v8H1.8ZM4.2 6.6h.01M6.7 6.6h.01M9.2 6.6h.01M11.7 6.6h.01M5 9.4h6",
    user: "M8 2.6a2.6 2.6 0 1 1 0 5.2 2.6 2.6 0 0 1 0-5.2ZM3 13.6c.4-2.9 2.3-4.2 5-4.2s4.6 1.3 5 4.2",
};
function Icon({ name, size = 14 }) {
    return (<svg width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" fill="none" stroke="currentColor" strokeWidth={1.4} strokeLinecap="round" strokeLinejoin="round">
      <path d={ICONS[name]}/>
    </svg>);
}
const Severity = React.memo(function Severity({ severity, size = 14, mute = false, }) {
    const known = severity in RANK ? severity : "LOW";
    return (<svg className={mute ? "t3" : `s-${known}`} width={size} height={size} viewBox="0 0 14 14" role="img" aria-label={words(severity)}>
      {known === "LOW" && <circle cx={7} cy={7} r={4.2} fill="none" stroke="currentColor" strokeWidth={1.7}/>}
      {known === "MEDIUM" && (<path d="M7 1.8 12.2 7 7 12.2 1.8 7Z" fill="none" stroke="currentColor" strokeWidth={1.7}/>)}
      {known === "HIGH" && <rect x={2} y={2} width={10} height={10} rx={1} fill="currentColor"/>}
      {known === "CRITICAL" && (<>
          <path d="M4.3.5h5.4l3.8 3.8v5.4l-3.8 3.8H4.3L.5 9.7V4.3Z" fill="currentColor"/>
          <path d="M7 3.3v4.4M7 9.4v1.4" stroke="var(--bg1)" strokeWidth={1.8}/>
        </>)}
    </svg>);
});
const UNKNOWN_WINDOW = "–";
const windowOf = (alert) => alert.window || UNKNOWN_WINDOW;
const windowMsOf = (alert) => (alert.window ? intervalMs(alert.window) : 0);
function Change({ value, window = "", big = false }) {
    const move = moveOf(value);
    return (<span className={`chg ${move === "flat" ? "t2" : move}${big ? " big" : ""}`} data-move={move}>
      {move !== "flat" && (<svg width={8} height={8} viewBox="0 0 8 8" aria-hidden="true" data-arrow={move}>
          <path d={move === "down" ? "M.8 1.6h6.4L4 7Z" : "M.8 6.4h6.4L4 1Z"} fill="currentColor"/>
        </svg>)}
      {percent(value)}
      {window && value !== null && (<span className="win" title={window === UNKNOWN_WINDOW ? titled(NO_WINDOW) : undefined}>
          {` · ${windowText(window)}`}
        </span>)}
    </span>);
}
const toneOf = (move) => (move === "flat" ? "var(--t2)" : `var(--${move})`);
function scale(values, height, margin) {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
        if (value < low)
            low = value;
        if (value > high)
            high = value;
    }
    const half = high / 2 - low / 2;
    if (!(half > 0 && Number.isFinite(half)))
        return () => height / 2;
    return (value) => margin + (Math.min(1, Math.max(0, (high / 2 - value / 2) / half)) * (height - 2 * margin) || 0);
}
function visible(closes, bands) {
    let [low, high] = [Infinity, -Infinity];
    for (const close of closes) {
        if (close < low)
            low = close;
        if (close > high)
            high = close;
    }
    const range = high - low;
    return [...closes, ...bands.map((value) => Math.min(high + range, Math.max(low - range, value)))].filter(Number.isFinite);
}
const Spark = React.memo(function Spark({ alert, width, height, mute, }) {
    const closes = alert.spark;
    if (closes.length < 2)
        return <svg width={width} height={height} aria-hidden="true"/>;
    const last = closes.length - 1;
    const band = alert.lower !== null && alert.upper !== null ? [alert.lower, alert.upper] : null;
    const y = scale(visible(closes, band ?? []), height, 2);
    const x = (i) => 1 + (i * (width - 8)) / last;
    const from = Math.max(0, last - Math.round(windowMsOf(alert) / intervalMs(alert.interval)));
    const line = (first, end) => closes
        .slice(first, end + 1)
        .map((value, i) => `${i ? "L" : "M"}${x(first + i).toFixed(1)} ${y(value).toFixed(1)}`)
        .join("");
    const tone = mute ? "var(--t3)" : toneOf(moveOf(alert.changePct));
    return (<svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true" fill="none" data-move={moveOf(alert.changePct)}>
      <rect x={x(from)} y={0} width={x(last) - x(from)} height={height} fill="var(--shade)"/>
      {from > 0 && (<path d={line(0, from)} stroke={mute ? "var(--t3)" : "var(--t2)"} strokeWidth={1} strokeLinejoin="round"/>)}
      <path d={line(from, last)} stroke={tone} strokeWidth={1.5} strokeLinejoin="round"/>
      {band && (<rect x={width - 5} y={y(band[1])} width={4} height={Math.max(1, y(band[0]) - y(band[1]))} fill="var(--bandline)"/>)}
      <circle cx={x(last)} cy={y(closes[last])} r={1.8} fill={tone}/>
    </svg>);
});
function sparkTitle(alert) {
    if (alert.spark.length < 2)
        return "";
    const spans = (alert.spark.length - 1) * intervalMs(alert.interval);
    const window = windowMsOf(alert);
    if (!window)
        return `Last ${duration(spans)}; ${NO_WINDOW}`;
    return window < spans
        ? `Last ${duration(spans)}; shaded: the ${duration(window)} of the change`
        : `Last ${duration(spans)} of the ${duration(window)} of the change`;
}
const CHART_HEIGHT = 150;
const CHART_WINDOWS = 3;
const FETCHED_WINDOWS = 4;
const MOST_CANDLES = 1000;
const EARLIEST_MS = 1e12;
function chartRanges(alert) {
    const [window, interval] = [windowMsOf(alert), intervalMs(alert.interval)];
    if ((alert.spark.length - 1) * interval >= CHART_WINDOWS * window)
        return [];
    const range = FETCHED_WINDOWS * window;
    const from = alert.timestamp - range;
    if (from < EARLIEST_MS)
        return [];
    return [...new Set([alert.interval, interval < 60_000 ? "1m" : alert.interval])]
        .filter((name) => range / intervalMs(name) <= MOST_CANDLES)
        .map((name) => ({ interval: name, from, to: alert.timestamp }));
}
function chartPoints(alert, candles, earlier = []) {
    const interval = intervalMs(alert.interval);
    const none = { expected: null, lower: null, upper: null };
    const last = alert.spark.length - 1;
    const closes = alert.spark.map((close, i) => ({
        close,
        timestamp: alert.timestamp - (last - i) * interval,
        ...(i === last ? { expected: alert.expected, lower: alert.lower, upper: alert.upper } : none),
    }));
    const points = new Map();
    for (const point of [...earlier, ...candles])
        points.set(point.timestamp, point);
    for (const point of closes)
        if (point.lower !== null || !points.has(point.timestamp))
            points.set(point.timestamp, point);
    const start = alert.timestamp - Math.max(FETCHED_WINDOWS * windowMsOf(alert), 60 * interval);
    return [...points.values()]
        .filter(({ timestamp }) => timestamp >= start && timestamp <= alert.timestamp)
        .sort((a, b) => a.timestamp - b.timestamp);
}
function bandRuns(points) {
    const runs = [[]];
    for (const { timestamp, lower, upper, expected } of points) {
        if (lower !== null && upper !== null)
            runs[runs.length - 1].push({ timestamp, lower, upper, expected });
        else if (runs[runs.length - 1].length)
            runs.push([]);
    }
    return runs.filter((run) => run.length);
}
function Chart({ alert, candles, earlier, width, step, }) {
    const points = chartPoints(alert, candles, earlier);
    if (points.length < 2)
        return <p className="t3">No candles of this time are stored.</p>;
    const lastPoint = points[points.length - 1];
    const longest = Math.max(...[alert.price, alert.upper, lastPoint.close].map((value) => price(value, step).length));
    const axis = Math.min(width / 2, Math.max(62, 14 + longest * 6.6));
    const [plotWidth, plotHeight] = [Math.max(60, width - axis), CHART_HEIGHT - 22];
    const runs = bandRuns(points);
    const shown = visible(points.map((point) => point.close), runs.flat().flatMap(({ lower, upper }) => [lower, upper]));
    const y = scale(shown, plotHeight, 8);
    const [start, end] = [points[0].timestamp, lastPoint.timestamp];
    const x = (timestamp) => 2 + (Math.max(0, timestamp - start) / (end - start || 1)) * (plotWidth - 10);
    const at = (timestamp, value) => `${x(timestamp).toFixed(1)} ${y(value).toFixed(1)}`;
    const line = (some) => `M${some.map((point) => at(point.timestamp, point.close)).join("L")}`;
    const windowMs = windowMsOf(alert);
    const begun = Math.max(start, alert.timestamp - windowMs);
    const first = points.findIndex((point) => point.timestamp >= begun);
    const opened = alert.escalations[0]?.timestamp ?? alert.timestamp;
    const [low, high] = [Math.min(...shown), Math.max(...shown)];
    const usual = lastPoint.expected;
    const lastY = y(lastPoint.close);
    const [from, to] = [`−${duration(end - start)}`, clock(end, end - start < 600_000)];
    const box = Math.min(Math.max(lastY, 9), plotHeight - 9);
    const apart = (a, b) => Math.abs(a - b) > 15;
    const marked = usual !== null && usual >= low && usual <= high && apart(y(usual), box) ? usual : null;
    const third = high / 3 - low / 3;
    const ticks = [high, high - third, low + third, low].filter((value) => apart(y(value), box) && (marked === null || apart(y(value), y(marked))));
    const move = moveOf(alert.changePct);
    const tone = toneOf(move);
    return (<svg width="100%" height={CHART_HEIGHT} viewBox={`0 0 ${width} ${CHART_HEIGHT}`} role="img" aria-label={`${alert.symbol}, ${duration(end - start)} up to ${clock(end)}; ${windowMs ? `shaded: the ${duration(windowMs)} of the change` : NO_WINDOW}`} fill="none" data-move={move}>
      <rect x={x(begun)} y={0} width={x(end) - x(begun)} height={plotHeight} fill="var(--shade)"/>
      {[...new Set(ticks)].map((value) => (<g key={value}>
          <path d={`M2 ${y(value)}H${plotWidth}`} stroke="var(--line)"/>
          <text x={plotWidth + 6} y={y(value) + 4} className="ax">
            {price(value, step)}
          </text>
        </g>))}
      {runs.map((run) => (<Band key={run[0].timestamp} run={run} at={at} x={x} y={y}/>))}
      {first > 0 && (<path d={line(points.slice(0, first + 1))} stroke="var(--t2)" strokeWidth={1.4} strokeLinejoin="round"/>)}
      <path d={line(points.slice(first))} stroke={tone} strokeWidth={2} strokeLinejoin="round"/>
      {opened > start && opened <= end && (<>
          <path d={`M${x(opened)} 4V${plotHeight - 2}`} stroke="var(--crit)" strokeDasharray="3 3"/>
          <text x={x(opened) + (x(opened) > 90 ? -5 : 5)} y={13} textAnchor={x(opened) > 90 ? "end" : "start"} className="ax on">
            opened
          </text>
        </>)}
      <path d={`M2 ${lastY}H${plotWidth}`} stroke={tone} strokeDasharray="1 3"/>
      <circle cx={x(end)} cy={lastY} r={2.6} fill={tone}/>
      {marked !== null && (<text x={plotWidth + 6} y={y(marked) + 4} className="ax usual">
          {price(marked, step)}
        </text>)}
      <rect x={plotWidth + 1} y={box - 8} width={axis - 2} height={16} rx={2} fill={tone}/>
      <text x={plotWidth + 6} y={box + 4} className="ax boxed">
        {price(lastPoint.close, step)}
      </text>
      {(from.length + to.length + 2) * 6 < plotWidth && (<text x={2} y={CHART_HEIGHT - 5} className="ax">
          {from}
        </text>)}
      <text x={plotWidth - 4} y={CHART_HEIGHT - 5} textAnchor="end" className="ax">
        {to}
      </text>
    </svg>);
}
function Band({ run, at, x, y, }) {
    const [one] = run;
    if (run.length === 1 && one)
        return (<rect x={x(one.timestamp) - 3} y={y(one.upper)} width={6} height={Math.max(1, y(one.lower) - y(one.upper))} fill="var(--band)" stroke="var(--bandline)" strokeWidth={0.75}/>);
    const upper = run.map((point) => at(point.timestamp, point.upper));
    const lower = run.map((point) => at(point.timestamp, point.lower)).reverse();
    const expected = run.flatMap((point) => (point.expected === null ? [] : [at(point.timestamp, point.expected)]));
    return (<>
      <path d={`M${upper.join("L")}L${lower.join("L")}Z`} fill="var(--band)" stroke="var(--bandline)" strokeWidth={0.75}/>
      {expected.length > 1 && <path d={`M${expected.join("L")}`} stroke="var(--bandline)" strokeDasharray="3 3"/>}
    </>);
}
function Ring({ ratio, usual, tone, size }) {
    const radius = size / 2 - size * 0.06;
    const circumference = 2 * Math.PI * radius;
    const angle = Math.min(1, Math.max(0, usual ?? 0)) * 2 * Math.PI - Math.PI / 2;
    const point = (r) => `${size / 2 + r * Math.cos(angle)} ${size / 2 + r * Math.sin(angle)}`;
    const big = size > 50;
    return (<svg className="ring" width={size} height={size} viewBox={`0 0 ${size} ${size}`} role="img" aria-label={`${share(ratio)} of symbols moved together`} fill="none">
      <circle cx={size / 2} cy={size / 2} r={radius} stroke="var(--line2)" strokeWidth={size * 0.1}/>
      <circle cx={size / 2} cy={size / 2} r={radius} stroke={tone} strokeWidth={size * 0.1} strokeDasharray={`${ratio * circumference} ${circumference}`} transform={`rotate(-90 ${size / 2} ${size / 2})`}/>
      {big && usual !== null && (<path d={`M${point(radius - size * 0.09)}L${point(radius + size * 0.05)}`} stroke="var(--t1)" strokeWidth={2}/>)}
      <text x="50%" y={size / 2 + (big ? 3 : 4)} textAnchor="middle" className={big ? "ringbig" : "ringsmall"}>
        {big ? share(ratio).replace(NBSP, "") : parseInt(share(ratio).replace("<", ""), 10)}
      </text>
      {big && (<text x="50%" y={size / 2 + 17} textAnchor="middle" className="ax">
          together
        </text>)}
    </svg>);
}
function Gauge({ index, mute }) {
    const [cx, cy, r] = [75, 78, 60];
    const at = (value, radius = r) => {
        const angle = Math.PI * (1.1 - (value / 100) * 1.2);
        return `${(cx + radius * Math.cos(angle)).toFixed(1)} ${(cy - radius * Math.sin(angle)).toFixed(1)}`;
    };
    const arc = (from, to) => `M${at(from)}A${r} ${r} 0 0 1 ${at(to)}`;
    const bounds = [0, 40, 60, 80, 100];
    const zone = zoneOf(index);
    return (<svg width={150} height={118} viewBox="0 0 150 118" role="img" aria-label={`Market stress ${Math.round(index)} of 100, ${zone.name}`} fill="none">
      {ZONES.map((part, i) => {
            const [from, to] = [bounds[i] + (i ? 0.9 : 0), bounds[i + 1] - 0.9];
            const colour = mute
                ? "var(--t3)"
                : `var(--${{ LOW: "low", MEDIUM: "med", HIGH: "high", CRITICAL: "crit" }[part.severity]})`;
            return (<g key={part.name} stroke={colour} strokeWidth={12}>
            <path d={arc(from, to)} opacity={0.25}/>
            {index > from && <path d={arc(from, Math.min(to, index))}/>}
          </g>);
        })}
      <path d={`M${at(index, r - 11)}L${at(index, r + 9)}`} stroke="var(--t1)" strokeWidth={3.5}/>
      <text x={cx} y={cy + 6} textAnchor="middle" className="gaugebig">
        {Math.round(index)}
      </text>
      <text x={cx} y={cy + 26} textAnchor="middle" className={`gaugezone ${mute ? "" : `z-${zone.severity}`}`}>
        {zone.name}
      </text>
      <text x={22} y={114} className="ax">
        0
      </text>
      <text x={128} y={114} textAnchor="end" className="ax">
        100
      </text>
    </svg>);
}
const CURVE_MS = 4 * 3_600_000;
function stressCurve(series, { timestamp, index }) {
    const before = series.filter((point) => point.timestamp < timestamp && point.timestamp >= timestamp - CURVE_MS);
    return [...before, { timestamp, index }];
}
function StressChart({ points, live, mute }) {
    const [ref, { width }] = useSize();
    return (<div ref={ref} className="hist">
      {points.length < 2 ? (<p className="t3">
          No other reading of the {duration(CURVE_MS)} to {clock(points[0].timestamp)}.
        </p>) : (width > 0 && <StressCurve points={points} width={width} live={live} mute={mute}/>)}
    </div>);
}
const AXIS_CHARACTER = 6;
function StressCurve({ points, width, live, mute, }) {
    const height = 112;
    const [first, last] = [points[0], points[points.length - 1]];
    const [start, end] = [first.timestamp, last.timestamp];
    const top = Math.max(80, ...points.map((point) => point.index));
    const plotWidth = Math.max(30, width - 30);
    const x = (timestamp) => ((timestamp - start) / (end - start || 1)) * plotWidth;
    const y = (value) => 6 + ((top - value) / top) * (height - 26);
    const line = points.map((point) => `${x(point.timestamp).toFixed(1)} ${y(point.index).toFixed(1)}`).join("L");
    const tone = mute
        ? "var(--t3)"
        : `var(--${{ LOW: "low", MEDIUM: "med", HIGH: "high", CRITICAL: "crit" }[zoneOf(last.index).severity]})`;
    const [from, to] = live ? [`${longAge(end - start)} ago`, "now"] : [clock(start, false, { today: end }), clock(end)];
    return (<svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`Market stress, ${longAge(end - start)} to ${clock(end)}`} fill="none">
      {[40, 60, 80].map((value) => (<g key={value}>
          <path d={`M0 ${y(value)}H${plotWidth + 2}`} stroke="var(--line2)" strokeDasharray="1 3"/>
          <text x={width} y={y(value) + 4} textAnchor="end" className="ax">
            {value}
          </text>
        </g>))}
      <path d={`M${line}L${x(end)} ${y(0)}L0 ${y(0)}Z`} fill={tone} opacity={0.13}/>
      <path d={`M${line}`} stroke={tone} strokeWidth={1.5} strokeLinejoin="round"/>
      <circle cx={x(end)} cy={y(last.index)} r={3} fill={tone}/>
      {(from.length + to.length + 2) * AXIS_CHARACTER < plotWidth && (<text x={0} y={height - 4} className="ax">
          {from}
        </text>)}
      <text x={plotWidth} y={height - 4} textAnchor="end" className="ax">
        {to}
      </text>
    </svg>);
}
const stop = (run) => (event) => {
    event.stopPropagation();
    run();
};
const isClosed = (alert) => alert.state === "CLOSED";
const rowClass = (base, { alert, expanded, fresh, nested }) => `${base} r-${alert.severity in RANK ? alert.severity : "LOW"}${isClosed(alert) ? " closed" : ""}${expanded ? " sel" : ""}${fresh ? " fresh" : ""}${nested ? " nested" : ""}`;
function timeTitle(alert) {
    const delay = alert.detectedAt === null
        ? ""
        : `, detected ${plain((alert.detectedAt - alert.timestamp) / 1000, 2)} s after the candle closed`;
    return `${clock(alert.timestamp, true, { full: true })}${delay}`;
}
const REVIEW_TAGS = { ACKNOWLEDGED: "ack", FALSE_POSITIVE: "false pos." };
const reviewText = ({ state, by, at }) => `${words(state)}${by && ` by ${by}`}${at === null ? "" : `, ${clock(at)}`}`;
const others = (count) => `${plain(count - 1, 0)} more ${count === 2 ? "alert" : "alerts"}`;
function SymbolCell({ row: { alert, count, named, act } }) {
    const [base, quote] = splitSymbol(alert.symbol);
    return (<span className="sym">
      <button type="button" tabIndex={-1} className={`lnk${named ? " nv" : ""}`} title={`Open the chart of ${alert.symbol}${named ? `, ${alert.venue || "venue not given"}` : ""}`} onClick={stop(() => act.chart(alert))}>
        {named ? (<>
            <span className="ell">
              <b>{base}</b>
              <i>{quote}</i>
            </span>
            <small className="ell">{alert.venue || "–"}</small>
          </>) : (<>
            <b>{base}</b>
            <i>{quote}</i>
          </>)}
      </button>
      {count > 1 && (<span className="tag more" title={`${others(count)} of ${alert.symbol}`}>
          +{plain(count - 1, 0)}
        </span>)}
      {alert.state === "ESCALATED" && (<span className="tag esc only-n" title="Escalated">
          <Icon name="escalated" size={11}/>
        </span>)}
      {alert.review && isReviewed(alert) && (<span className="tag" title={reviewText(alert.review)}>
          <Icon name="check" size={10}/>
          <span className="only-n">{REVIEW_TAGS[alert.review.state] ?? words(alert.review.state).toLowerCase()}</span>
        </span>)}
      {!(alert.severity in RANK) && <span className="tag">{words(alert.severity)}</span>}
    </span>);
}
function IconLink({ icon, label, href }) {
    return (<a className="ib" href={href} target="_blank" rel="noopener" aria-label={label} title={label} onClick={(event) => event.stopPropagation()}>
      <Icon name={icon}/>
    </a>);
}
function Row({ base, row, children }) {
    const { alert, count, act } = row;
    const [hovered, setHovered] = React.useState(false);
    const sentence = alertSentence(alert, row.step);
    return (<article className={rowClass(base, row)} data-key={alert.id} data-symbol={alert.symbol} data-venue={alert.venue} data-method={alert.method} data-severity={alert.severity} data-rarity={alert.rarityDays ?? ""} tabIndex={row.focused ? 0 : -1} aria-label={`${words(alert.severity)}. ${sentence} ${row.named && alert.venue ? `At ${alert.venue}, ` : ""}${row.age} ago.${count > 1 ? ` ${others(count)}.` : ""}`} onFocus={() => act.focus(alert.id)} onClick={() => act.toggle(alert.id)} onMouseEnter={() => setHovered(true)} onMouseLeave={() => setHovered(false)}>
      {children}
      {hovered && <QuickActions row={row}/>}
    </article>);
}
function QuickActions({ row: { alert, act, listed, reviewMode } }) {
    const { exchange } = marketLinks(alert.venue, alert.symbol);
    return (<span className="qa only-m">
      {exchange && !listed && (<IconLink icon="open" label={`${alert.symbol} at ${exchange.label}`} href={exchange.href}/>)}
      <IconButton icon="chart" label={listed ? "Open chart (O)" : "Chart at TradingView (O)"} onClick={() => act.chart(alert)}/>
      <IconButton icon="copy" label="Copy (C)" onClick={() => act.copy(alert)}/>
      <IconButton icon="bell" label="Mute for 1 h (M)" onClick={() => act.mute(alert.symbol)}/>
      <IconButton icon={reviewMode === "acknowledge" ? "check" : "page"} label={alert.review && isReviewed(alert) ? reviewText(alert.review) : `${REVIEW_LABELS[reviewMode]} (A)`} on={isReviewed(alert)} onClick={() => act.review(alert)}/>
    </span>);
}
const SURGE_NAMES = {
    VOLUME: ["volume", "surge of volume"],
    VOLATILITY: ["range", "range"],
};
function Rarity({ alert, className = "" }) {
    const full = rarityText(alert.rarityDays, alert.rarityCapped);
    const [surge, surgeName] = SURGE_NAMES[alert.method] ?? ["", "move"];
    return (<span className={`ra ${full && surge ? "of" : "ell"} ${className}`} title={full && `As strong a ${surgeName} of one symbol comes ${full}`}>
      {full && surge && `${surge} `}
      {rarityText(alert.rarityDays, alert.rarityCapped, true)}
    </span>);
}
const vsMarket = (alert) => (alert.excessPct === null ? "" : `vs market ${percentPoints(alert.excessPct)}`);
const wick = ({ excursionPct }) => (excursionPct === null ? "" : `wick ${percent(excursionPct, NBSP)}`);
const CompactRow = React.memo(function CompactRow(props) {
    const { alert, act } = props;
    return (<Row base="row" row={props}>
      <span title={words(alert.severity)}>
        <Severity severity={alert.severity} mute={isClosed(alert)}/>
      </span>
      <SymbolCell row={props}/>
      <span className="sp" title={sparkTitle(alert)}>
        <Spark alert={alert} width={52} height={20} mute={isClosed(alert)}/>
      </span>
      <Change value={alert.changePct} window={windowOf(alert)}/>
      <span className="vm num">{wick(alert) || vsMarket(alert)}</span>
      <Rarity alert={alert}/>
      <time className="num ag" title={timeTitle(alert)}>
        {props.age}
      </time>
      <button type="button" tabIndex={-1} className="cv" aria-expanded={props.expanded} aria-label="Details" onClick={stop(() => act.toggle(alert.id))}>
        <Icon name={props.expanded ? "down" : "right"} size={12}/>
      </button>
    </Row>);
});
function cardSentence(alert) {
    const text = alertSentence(alert)
        .replace(`${alert.symbol} `, "")
        .replace(/, to [\d.,₀-₉]*\d/, "");
    return titled(text);
}
const CARD_NUMBERS = 132;
const CardRow = React.memo(function CardRow(props) {
    const { alert } = props;
    return (<Row base="card" row={props}>
      <span className="c-hd">
        <Severity severity={alert.severity} mute={isClosed(alert)}/>
        <SymbolCell row={props}/>
        <span className="grow"/>
        <Rarity alert={alert} className="only-n"/>
        <span className="tag only-m">{methodName(alert.method)}</span>
        <time className="num ag" title={timeTitle(alert)}>
          {props.age}
        </time>
      </span>
      <span className="c-nums">
        <Change value={alert.changePct} window={windowOf(alert)} big/>
        <span className="vm num">{wick(alert) || vsMarket(alert)}</span>
        <span className="num">{price(alert.price, props.step)}</span>
      </span>
      <span className="spk" title={sparkTitle(alert)}>
        <Spark alert={alert} width={Math.max(80, props.width - CARD_NUMBERS - 36)} height={52} mute={isClosed(alert)}/>
      </span>
      <span className="say ell" title={alertSentence(alert, props.step)}>
        {cardSentence(alert)}
      </span>
    </Row>);
});
const TableRow = React.memo(function TableRow(props) {
    const { alert } = props;
    return (<Row base="trow" row={props}>
      <Severity severity={alert.severity} size={12} mute={isClosed(alert)}/>
      <SymbolCell row={props}/>
      <Change value={alert.changePct} window={windowOf(alert)}/>
      <span className="num c-vm">{percentPoints(alert.excessPct)}</span>
      <span className="num c-price">{price(alert.price, props.step)}</span>
      <Rarity alert={alert} className="c-ra"/>
      <span className="me ell c-me">{methodName(alert.method)}</span>
      <time className="num ag" title={timeTitle(alert)}>
        {props.age}
      </time>
    </Row>);
});
const COLUMNS = [
    { key: "symbol", label: "Symbol", className: "l" },
    { key: "change", label: "Change", className: "" },
    { key: null, label: "vs market", className: "c-vm" },
    { key: "price", label: "Price", className: "c-price" },
    { key: "rarity", label: "Rarity", className: "l c-ra" },
    { key: null, label: "Method", className: "l c-me" },
    { key: "age", label: "Age", className: "" },
];
const sortedBy = (key, sort) => ({
    key,
    down: sort.key === key ? !sort.down : key !== "symbol",
});
function TableHead({ sort, onSort }) {
    return (<div className="trow th" role="group" aria-label="Sort by">
      <span />
      {COLUMNS.map(({ key, label, className }) => key === null ? (<span key={label} className={className}>
            {label}
          </span>) : (<button key={label} type="button" className={`${className}${sort.key === key ? " sorted" : ""}`} aria-pressed={sort.key === key} onClick={() => onSort(sortedBy(key, sort))}>
            {label}
            {sort.key === key ? (sort.down === (key === "age") ? " ↑" : " ↓") : ""}
          </button>))}
    </div>);
}
const SORT_LABELS = {
    severity: ["Severity", "most severe first", "least severe first"],
    age: ["Age", "newest first", "oldest first"],
    symbol: ["Symbol", "Z to A", "A to Z"],
    change: ["Change", "largest rise first", "largest fall first"],
    rarity: ["Rarity", "rarest first", "most usual first"],
    score: ["Score", "highest first", "lowest first"],
    price: ["Price", "highest first", "lowest first"],
};
const sortLabel = ({ key, down }) => {
    const [label, falling, rising] = SORT_LABELS[key] ?? SORT_LABELS.severity;
    return `${label.toLowerCase()}, ${down ? falling : rising}`;
};
const alertsText = (count) => `${countText(count)} ${count === 1 ? "alert" : "alerts"}`;
function listCounts(open, { symbols, alerts, more, partial }) {
    const counted = (count, noun) => `${countText(count, more)} ${count === 1 && !more ? noun : `${noun}s`}`;
    return [
        alerts || more ? `${counted(symbols, "symbol")}, ${counted(alerts, "alert")}` : "none open",
        partial && open.alerts > 0 && alerts > open.alerts
            ? `${countText(open.alerts)} newest of ${countText(alerts)}`
            : "",
    ];
}
function ListHead({ list, loaded, counts, sort, onSort, children, }) {
    const [text, part] = listCounts(list.open, counts);
    return (<div className="listhd">
      <b className="t1 only-l">Alerts</b>
      {loaded && (<span className="num ell lh-n" title={`Open now: ${text}${part && `; this list has the ${part}`}`}>
          {text}
          {part && <span className="t3 only-n"> · {part}</span>}
          {list.folded > 0 && <span className="t3 only-m"> · {plain(list.folded, 0)} in incidents</span>}
        </span>)}
      <span className="grow"/>
      <select className="sortby" aria-label="Sort by" title={`Sorted by ${sortLabel(sort)}`} value={sort.key in SORT_LABELS ? sort.key : "severity"} onChange={({ target }) => onSort({ key: target.value, down: target.value !== "symbol" })}>
        {Object.entries(SORT_LABELS).map(([key, [label]]) => (<option key={key} value={key}>
            {label}
          </option>))}
      </select>
      <button type="button" className="ib sm" aria-label={`Sorted by ${sortLabel(sort)}. Turn the order around`} title={`Sorted by ${sortLabel(sort)}`} onClick={() => onSort({ ...sort, down: !sort.down })}>
        <Icon name={sort.down ? "falling" : "up"} size={12}/>
      </button>
      {children}
    </div>);
}
function groupTitle(anomaly) {
    if (anomaly.type === "SECTOR_ANOMALY")
        return `${anomaly.sector} sector`;
    if (anomaly.type === "MARKET_STRESS")
        return "Market stress";
    if (anomaly.type !== "SYNCHRONIZED_MOVEMENT")
        return words(anomaly.type);
    return incidentTitle(anomaly);
}
function partsText({ count, anomaly }) {
    const all = anomaly.alertCount ?? 0;
    return all > count ? `${countText(count)} of ${alertsText(all)} loaded` : `${alertsText(count)} grouped`;
}
function IncidentRow({ item, over, age: ageText, act, }) {
    const { anomaly } = item;
    const title = over ? `Over: ${groupTitle(anomaly).toLowerCase()}` : groupTitle(anomaly);
    const size = anomaly.symbols.length || anomaly.members;
    const change = anomaly.averageChangePct ?? anomaly.performancePct;
    const move = moveOf(change);
    const ended = !isOpen(anomaly);
    const how = anomaly.type === "SECTOR_ANOMALY" ? (sectorGap(anomaly) && ` · ${sectorGap(anomaly)}`) : size && anomaly.universe ? (<>
        {" "}
        · {plain(size, 0)} of {plain(anomaly.universe, 0)}
        <span className="only-n"> symbols</span>
      </>) : null;
    return (<article className={`inc-hd r-${anomaly.severity}${ended ? " closed" : ""}`} aria-label={`Incident: ${title}, ${ageText} ago, ${alertsText(item.count)}`}>
      <Severity severity={anomaly.severity} mute={ended || over}/>
      <span className="incic only-n">
        <Icon name="incident"/>
      </span>
      <span className="inc-tx">
        <span className="ell blk">
          <b>{title}</b>
          <span className="t3">
            <span className="only-n"> · {clock(anomaly.timestamp)}</span> · {ageText} ago
            {ended && " · closed"}
          </span>
        </span>
        <span className="ell blk t2">
          {change !== null && (<>
              <b className={move === "flat" ? "" : move} data-move={move}>
                {percent(change)}
              </b>
              {anomaly.window && ` · ${windowText(anomaly.window)}`}{" "}
              {anomaly.averageChangePct === null ? "median" : "avg"}
            </>)}
          {how}
          <span className="only-n"> · {partsText(item)}</span>
        </span>
      </span>
      {anomaly.ratio !== null && (<span className="only-n">
          <Ring ratio={anomaly.ratio} usual={null} tone={ended || over ? "var(--t3)" : toneOf(move)} size={30}/>
        </span>)}
      <button type="button" className="ib sm" aria-expanded={item.open} aria-label={item.open ? "Collapse incident" : "Expand incident"} onClick={() => act.fold(anomaly.id)}>
        <Icon name={item.open ? "down" : "right"} size={12}/>
      </button>
    </article>);
}
function scoreWords(alert) {
    const window = inWindow(alert.window);
    const counts = alert.method === "VOLUME"
        ? `times its usual volume${window}`
        : alert.method === "VOLATILITY"
            ? `times its usual range${window}`
            : alert.method === "RESIDUAL"
                ? `σ: its usual deviations from its market and sector${window}`
                : alert.method === "CUSUM"
                    ? `σ: its usual deviations, added up${alert.window && ` over ${span(alert.window)}`}`
                    : alert.method in METHOD_NAMES && alert.method !== "EXTERNAL"
                        ? `σ: its usual deviations${window}`
                        : "in the units of its publisher";
    const from = alert.threshold === null ? "" : `; alerts from ${plain(alert.threshold, 1)}${unitOf(alert.method)}`;
    return `${counts}${from}`;
}
function Facts({ alert, step, age: ageText }) {
    const also = alert.methods
        .filter(({ method }) => method !== alert.method)
        .map(({ method, score }) => `${methodName(method)} ${scoreText(score, unitOf(method))}`);
    const banded = alert.lower !== null && alert.upper !== null;
    const facts = [
        [
            "Change",
            alert.changePct !== null && <Change key="c" value={alert.changePct} window={windowOf(alert)}/>,
            `up to ${clock(alert.timestamp)}, ${ageText} ago${alert.window ? "" : `; ${NO_WINDOW}`}`,
        ],
        [
            "Wick",
            alert.excursionPct !== null && percent(alert.excursionPct, NBSP),
            `the furthest price of the candle, which came back within ${span(alert.interval)}`,
        ],
        [
            "Against the market",
            alert.excessPct !== null && percentPoints(alert.excessPct),
            `the change less the market’s over the same ${alert.window ? span(alert.window) : "time"}`,
        ],
        [
            "How unusual",
            rarityText(alert.rarityDays, alert.rarityCapped),
            `how often one symbol has as strong a ${SURGE_NAMES[alert.method]?.[1] ?? "move"}`,
        ],
        [
            "Price",
            alert.price !== null && price(alert.price, step),
            alert.expected === null ? "" : `${price(alert.expected, step)} was expected`,
        ],
        [
            "Usual range",
            banded && `${price(alert.lower, step)}–${price(alert.upper, step)}`,
            `where 19 of 20 moves${alert.window && ` of ${span(alert.window)}`} end`,
        ],
        ["Score", alert.score !== null && scoreText(alert.score, unitOf(alert.method)), scoreWords(alert)],
        ["Detected by", methodName(alert.method), also.length ? `also ${also.join(", ")}` : ""],
        ["Baseline", alert.baselineSize !== null && `${plain(alert.baselineSize, 0)} candles`, "that show what is usual"],
    ];
    return (<dl className="facts">
      {facts.map(([name, value, about]) => value && (<div key={name}>
              <dt className="lbl">{name}</dt>
              <dd className="wrap">
                <b>{value}</b>
                {about && <small>{about}</small>}
              </dd>
            </div>))}
    </dl>);
}
const OTHERS_SHOWN = 12;
function SameSymbol({ all, shown, now, act }) {
    if (all.length < 2)
        return null;
    return (<div className="same" role="group" aria-label={`Alerts of ${shown.symbol}`}>
      {all.slice(0, OTHERS_SHOWN).map(({ alert }) => (<button key={alert.id} type="button" className={`sm-row${isClosed(alert) ? " closed" : ""}`} aria-pressed={alert.id === shown.id} onClick={stop(() => act.open(alert.id))}>
          <Severity severity={alert.severity} size={12} mute={isClosed(alert)}/>
          <Change value={alert.changePct} window={windowOf(alert)}/>
          <span className="t2 ell only-n">{methodName(alert.method)}</span>
          <span className="grow"/>
          {isClosed(alert) && <span className="only-n">closed</span>}
          <span className="num only-n">{clock(alert.timestamp)}</span>
          <time className="num ag" title={timeTitle(alert)}>
            {age(now - alert.timestamp)}
          </time>
        </button>))}
      {all.length > OTHERS_SHOWN && <span className="t3">and {plain(all.length - OTHERS_SHOWN, 0)} more</span>}
    </div>);
}
function ReviewActions({ alert, mode, act }) {
    const [note, setNote] = React.useState(null);
    if (mode !== "acknowledge")
        return (<Button icon={mode === "open" ? "open" : "user"} label={REVIEW_LABELS[mode]} onClick={() => act.review(alert)}/>);
    const state = alert.review?.state ?? "NEW";
    const whole = defaults().reviewing?.review !== undefined;
    return (<>
      {!isReviewed(alert) && <Button icon="check" label={REVIEW_LABELS[mode]} onClick={() => act.review(alert)}/>}
      {whole && state !== "FALSE_POSITIVE" && (<Button icon="close" label="False positive" onClick={() => act.review(alert, { review_state: "false_positive" })}/>)}
      {whole && note === null && <Button icon="note" label="Note" onClick={() => setNote(alert.review?.note ?? "")}/>}
      {note !== null && (<form className="note" onSubmit={(event) => {
                event.preventDefault();
                act.review(alert, { review_state: state.toLowerCase(), review_note: note.trim() });
                setNote(null);
            }}>
          <textarea autoFocus aria-label={`Note on ${alert.symbol}`} rows={2} maxLength={400} value={note} onChange={(event) => setNote(event.target.value)}/>
          <button type="submit" className="btn pri">
            Save note
          </button>
          <Button label="Cancel" onClick={() => setNote(null)}/>
        </form>)}
    </>);
}
function MarketButtons({ alert, listed, server, act, }) {
    const { exchange, tradingView } = marketLinks(alert.venue, alert.symbol);
    return (<>
      {listed && <Button icon="chart" label="Open chart" primary onClick={() => act.chart(alert)}/>}
      {exchange && !listed && <LinkButton icon="open" label={exchange.label} href={exchange.href} primary/>}
      <LinkButton icon="chart" label="TradingView" href={tradingView} primary={!listed && !exchange}/>
      <LinkButton icon="page" label="Open page" href={pageOf(server, alert)}/>
    </>);
}
function LinkButton({ icon, label, href, primary = false, }) {
    return (<a className={`btn${primary ? " pri" : ""}`} href={href} target="_blank" rel="noopener" onClick={(event) => event.stopPropagation()}>
      <Icon name={icon}/>
      {label}
    </a>);
}
const NO_CANDLES = [];
function Details({ alert, all, reviewMode, pad, host, settings, width, marketNow, act, onHeight, }) {
    const box = React.useRef(null);
    const [fetched, setFetched] = React.useState({ id: "", candles: NO_CANDLES, earlier: NO_CANDLES });
    const asked = React.useRef(alert);
    React.useLayoutEffect(() => {
        asked.current = alert;
    });
    React.useEffect(() => {
        let mounted = true;
        const { id } = asked.current;
        void Promise.all([pad.chartOf(id), pad.earlierOf(asked.current)]).then(([candles, earlier]) => mounted && setFetched({ id, candles, earlier }));
        return () => {
            mounted = false;
        };
    }, [pad, alert.id, alert.timestamp, alert.window]);
    React.useLayoutEffect(() => {
        const element = box.current;
        if (!element)
            return;
        const observer = new ResizeObserver(() => onHeight(element.offsetHeight));
        observer.observe(element);
        return () => observer.disconnect();
    }, [onHeight]);
    const { candles, earlier } = fetched.id === alert.id ? fetched : { candles: NO_CANDLES, earlier: NO_CANDLES };
    const steps = alert.escalations.length
        ? alert.escalations
        : [{ severity: alert.severity, timestamp: alert.timestamp }];
    const step = host.priceStep(alert.symbol);
    return (<div ref={box} role="article" aria-label={`Details of ${alert.symbol}`} className={`exp r-${alert.severity in RANK ? alert.severity : "LOW"}`}>
      <SameSymbol all={all} shown={alert} now={marketNow} act={act}/>
      <p className="say">{alertSentence(alert, step)}</p>
      <div className="chart">
        <Chart alert={alert} candles={candles} earlier={earlier} width={Math.max(180, width - 38)} step={step}/>
      </div>
      <Facts alert={alert} step={step} age={age(marketNow - alert.timestamp)}/>
      <div className="tl">
        {steps.map((escalation, i) => (<span key={i}>
            {i > 0 && <Icon name="right" size={9}/>}
            <Severity severity={escalation.severity} size={12}/>
            {clock(escalation.timestamp)}
            {i === 0 ? " opened" : i === steps.length - 1 ? " escalated" : ""}
          </span>))}
        {isClosed(alert) && (<span>
            <Icon name="right" size={9}/>
            closed
          </span>)}
        {alert.review && isReviewed(alert) && (<span className="t1">
            <Icon name="check" size={11}/>
            {reviewText(alert.review)}
          </span>)}
        <span className="t3">
          {[alert.venue, alert.detector || methodName(alert.method), alert.interval, `rev ${alert.revision}`]
            .filter(Boolean)
            .join(" · ")}
        </span>
      </div>
      {alert.review?.note && <p className="t2 wrap">Note: {alert.review.note}</p>}
      <div className="acts">
        <MarketButtons alert={alert} listed={host.marketOf(alert.symbol) !== null} server={pad.server} act={act}/>
      </div>
      <div className="acts">
        <Button icon="copy" label="Copy" onClick={() => act.copy(alert)}/>
        <Button icon="bell" label="Mute 1 h" onClick={() => act.mute(alert.symbol)}/>
        <ReviewActions key={alert.id} alert={alert} mode={reviewMode} act={act}/>
      </div>
      {settings.orders && host.account && <Orders alert={alert} host={host} usd={settings.orderUsd}/>}
    </div>);
}
function Orders({ alert, host, usd }) {
    const [side, setSide] = React.useState(null);
    const [busy, setBusy] = React.useState(false);
    const market = host.marketOf(alert.symbol);
    if (!market)
        return (<p className="t3">
        {alert.symbol} is not listed on {host.account}.
      </p>);
    const place = async () => {
        if (!side || alert.price === null)
            return;
        setBusy(true);
        try {
            await api.orders.placeMarketOrder(market, host.account, side, {
                amount: api.utils.convertNotionalToNative(usd, market, host.account, alert.price),
            });
            api.toast.success(`Market ${side} order sent: ${usd} USD of ${market}.`);
        }
        catch (error) {
            api.toast.error(error instanceof Error ? error.message : String(error));
        }
        setBusy(false);
        setSide(null);
    };
    return (<div className="acts orders">
      {side === null ? (["buy", "sell"].map((choice) => (<Button key={choice} label={`${titled(choice)} $${usd}…`} onClick={() => setSide(choice)}/>))) : (<>
          <span>
            Market {side}, {usd} USD of {market} on {host.account}?
          </span>
          <Button label={`Confirm ${side}`} disabled={busy} onClick={() => void place()}/>
          <Button label="Cancel" disabled={busy} onClick={() => setSide(null)}/>
        </>)}
    </div>);
}
const DELTA_MS = 15 * 60_000;
function marketState(pad, { version, status, hasFeed, stale, ended }) {
    const items = [...pad.store.market.values()].sort((a, b) => b.timestamp - a.timestamp);
    const open = items.filter((item) => item.state !== "CLOSED");
    const lastStress = items.find((item) => item.type === "MARKET_STRESS" && item.stressIndex !== null);
    const stress = pad.stress ??
        (lastStress && isOpen(lastStress)
            ? {
                index: lastStress.stressIndex,
                parts: lastStress.components,
                timestamp: lastStress.timestamp,
                interval: "1m",
                venue: "",
                window: "",
                breadth: null,
                sectors: [],
                windows: [],
            }
            : null);
    const before = stress && pad.stressSeries.find((point) => point.timestamp >= stress.timestamp - DELTA_MS);
    const known = before && stress && stress.timestamp - before.timestamp > DELTA_MS * 0.8;
    const bySector = new Map();
    for (const item of items)
        if (item.type === "SECTOR_ANOMALY" && item.sector && !bySector.has(item.sector))
            bySector.set(item.sector, item);
    return {
        version,
        known: status.loaded && (hasFeed || pad.stress !== null || !status.online),
        stress,
        live: pad.stress !== null && !stale && !ended,
        past: pad.stress === null || stale,
        replay: pad.replay,
        delta: known ? Math.round(stress.index) - Math.round(before.index) : null,
        syncs: items.filter((item) => item.type === "SYNCHRONIZED_MOVEMENT"),
        bySector,
        hit: [...bySector.values()]
            .filter(isOpen)
            .sort((a, b) => rankOf(b.severity) - rankOf(a.severity) || Math.abs(b.deviation ?? 0) - Math.abs(a.deviation ?? 0)),
        items,
        lastStress: lastStress ?? null,
        worst: SEVERITIES.find((severity) => open.some((item) => item.severity === severity)) ?? null,
    };
}
const SAME_SECTORS = [];
function tilesOf(move, anomalies) {
    const live = move?.sectors ?? SAME_SECTORS;
    const market = move?.returnPct ?? null;
    if (live.length > 0)
        return live.map((sector) => ({
            ...sector,
            gap: market === null ? null : sector.performancePct - market,
            anomaly: anomalies.get(sector.sector) ?? null,
        }));
    return [...anomalies.values()]
        .map((anomaly) => ({
        sector: anomaly.sector,
        performancePct: anomaly.performancePct,
        gap: anomaly.excessPct,
        deviation: anomaly.deviation,
        members: anomaly.members,
        anomaly,
    }))
        .sort((a, b) => a.sector.localeCompare(b.sector));
}
const isOpen = (item) => item.state !== "CLOSED";
const EARLIER_MS = 3_600_000;
const USUAL_WINDOW = "15m";
const OFFERED_WINDOWS = ["1m", "5m", USUAL_WINDOW, "1h"];
const shownWindows = (windows, inUse) => windows.filter((move) => move === inUse || OFFERED_WINDOWS.includes(move.window));
const confirms = (move, item) => incidentState({ ...item, state: "OPEN", window: move.window }, [move], item.timestamp).over === "";
function headline(items, windows, now, window, held = null) {
    const lead = leadingIncident(items, windows, now);
    const follows = lead !== null && window === USUAL_WINDOW && lead.item.id !== held;
    const move = (follows && lead.beside) || nearestWindow(windows, window);
    return { move, lead: lead && (!move || confirms(move, lead.item)) ? lead : null };
}
const hasHappened = (item, replay) => !replay || item.timestamp <= replay.timestamp;
function glanceOf(market, window, now, held) {
    const windows = market.stress?.windows ?? [];
    const happened = (item) => hasHappened(item, market.replay);
    const venue = market.stress?.venue;
    const syncs = market.syncs.filter((item) => happened(item) && (!venue || item.venue === null || item.venue === venue));
    const { move, lead } = headline(syncs, windows, now, window, held);
    const last = syncs.find((item) => item !== lead?.item && now - item.timestamp < EARLIER_MS);
    return {
        now,
        current: market.live &&
            market.stress !== null &&
            now - market.stress.timestamp <= 2 * intervalMs(market.stress.interval) + 60_000,
        move,
        lead,
        earlier: last ? { item: last, ...incidentState(last, windows, now) } : null,
        syncs,
        hit: market.hit.filter(happened),
        tiles: tilesOf(move, market.bySector),
    };
}
const asOf = ({ timestamp, interval }) => clock(timestamp, intervalMs(interval) < 60_000);
const quietStress = ({ lastStress }) => lastStress ? `last ${Math.round(lastStress.stressIndex)} at ${clock(lastStress.timestamp)}` : "none so far";
const deltaText = (delta) => (delta === null ? "" : `${signed(delta, 0)} in 15 min`);
function StressLine({ market, glance, onOpen }) {
    const { stress } = market;
    const { move, lead, current } = glance;
    if (!stress)
        return (<div className="strip">
        <span className="lbl">Stress</span>
        <b className="idx t3">–</b>
        <span className="t3 ell">{market.known && quietStress(market)}</span>
      </div>);
    const zone = zoneOf(stress.index);
    return (<button type="button" className={`strip${market.past ? " past" : ""}`} title={`${move ? `${nowSentence(move)}. ` : ""}${zone.name} stress. Show the market`} onClick={onOpen}>
      <span className={`asof num ${current ? "t2" : "t3"}`}>
        {current ? <b className="only-n">Now </b> : <span className="only-n">at </span>}
        {asOf(stress)}
      </span>
      {move && (<span className="figs ell grow">
          {move.returnPct !== null && (<>
              <Change value={move.returnPct}/> <span className="t3 only-m">median</span>
            </>)}
          <span className="t3"> · {windowText(move.window)}</span>
          {move.breadth && <span className="t2 only-n"> · {breadthText(move)}</span>}
        </span>)}
      {lead && (<b className={`nw only-m ${wayClass(incidentWay(lead.item))}`}>
          {incidentTitle(lead.item)} {clock(lead.item.timestamp)}
        </b>)}
      {!move && <span className="grow"/>}
      <span className="nw">
        <span className="lbl only-n">Stress </span>
        <b className={`idx num ${market.past ? "t3" : `s-${zone.severity}`}`}>{Math.round(stress.index)}</b>
      </span>
      <Severity severity={zone.severity} mute={market.past}/>
      <Icon name="right" size={12}/>
    </button>);
}
const Bones = ({ widths }) => (<>
    {widths.map((width, i) => (<span key={i} className="sk" style={{ width }}/>))}
  </>);
function NowLine({ market, glance, onWindow, }) {
    const { stress } = market;
    const { move, current } = glance;
    if (!stress)
        return null;
    return (<div className="nowline" data-window={move?.window}>
      <span className={`asof ${current ? "t1" : "t3"}`}>
        {current ? <b>Now</b> : "at"} <time className="num t2">{asOf(stress)}</time>
        {move && move.returnPct !== null && <span className="t3 only-n"> · median</span>}
      </span>
      {stress.windows.length > 0 && (<span className="wins" role="group" aria-label="Window of the market figures">
          {shownWindows(stress.windows, move).map((other) => (<button key={other.window} type="button" aria-pressed={other === move} className={other === move ? "on" : ""} title={`${nowSentence(other)}. Show this window in breadth and sectors`} onClick={() => onWindow(other.window)}>
              <span className="t2">{windowText(other.window)}</span>{" "}
              {other.returnPct !== null && <Change value={other.returnPct}/>}
            </button>))}
        </span>)}
      {move && move.majors.length > 0 && (<span className="majors">
          {move.majors.map(({ base, changePct }) => (<span key={base} className="nw">
              <span className="t2">{base}</span> <Change value={changePct}/>
            </span>))}
          <span className="t3 nw">· {windowText(move.window)}</span>
        </span>)}
      {move?.breadth && (<span className="nw">
          <span className="t1">{breadthText(move)}</span> <span className="t3">· {windowText(move.window)}</span>
        </span>)}
    </div>);
}
function Coloured({ text, value }) {
    const change = percent(value, NBSP);
    const at = value === null ? -1 : text.lastIndexOf(change);
    if (at < 0)
        return <>{text}</>;
    return (<>
      {text.slice(0, at)}
      <span className={wayClass(wayOf(value))}>{change}</span>
      {text.slice(at + change.length)}
    </>);
}
const NowText = ({ move }) => <Coloured text={nowSentence(move)} value={move.returnPct}/>;
const IncidentText = ({ item, now }) => (<Coloured text={incidentSentence(item, now)} value={item.averageChangePct}/>);
function verdict(move, index, open) {
    if (index === null || intervalMs(move.window) > DELTA_MS)
        return "";
    const zone = zoneOf(index);
    if (zone !== ZONES[0])
        return `: ${zone.name.toLowerCase()} stress, ${Math.round(index)} of 100`;
    return open ? "" : ": within the usual";
}
const gapNow = (points) => gapText(points).replace(/^level with$/, "level with the market");
function SectorText({ item, glance }) {
    const tile = glance.move?.sectors.find(({ sector }) => sector === item.sector);
    return (<>
      {sectorSentence(item)}
      {tile && glance.move && (<>
          {glance.current ? "; now " : "; "}
          {glance.move.returnPct !== null ? `${gapNow(tile.performancePct - glance.move.returnPct)}, at ` : ""}
          <span className={wayClass(wayOf(tile.performancePct))}>{percent(tile.performancePct, NBSP)}</span> in{" "}
          {span(glance.move.window)}
        </>)}
    </>);
}
const Summary = React.memo(function Summary({ market, glance, act, onWindow, }) {
    if (!market.known)
        return (<div className="summary">
        <Bones widths={[110, 380]}/>
      </div>);
    const { stress } = market;
    const { move, lead, earlier, hit, now } = glance;
    const zone = stress ? zoneOf(stress.index) : null;
    const worst = hit.find((item) => now - item.timestamp < DELTA_MS) ?? null;
    const unusual = lead !== null || (earlier !== null && isOpen(earlier.item));
    return (<div className={`summary${market.past ? " past" : ""}`} role="region" aria-label="Market now">
      <span className="sumidx">
        {zone && stress ? (<>
            <Severity severity={zone.severity} size={18} mute={market.past}/>
            <b className={`num ${market.past ? "t3" : `s-${zone.severity}`}`}>{Math.round(stress.index)}</b>
          </>) : (<b className="t3">–</b>)}
        <span>
          <b className="blk">{zone ? (zone.name === "Calm" ? "Calm" : `${zone.name} stress`) : "Market stress"}</b>
          <span className="t2">
            {!stress
            ? quietStress(market)
            : !glance.current
                ? `at ${asOf(stress)}`
                : deltaText(market.delta) || "of 100"}
          </span>
        </span>
      </span>
      <span className="sep tall only-l"/>
      <div className="sumtx">
        <NowLine market={market} glance={glance} onWindow={onWindow}/>
        <div className="sumsay">
          <p className="say" data-lead={lead ? lead.item.id : undefined}>
            {lead ? (<>
                <b>
                  <IncidentText item={lead.item} now={now}/>
                </b>
                .{" "}
                {lead.beside && (<>
                    {glance.current ? "Now: " : "Then: "}
                    <NowText move={lead.beside}/>.{" "}
                  </>)}
                {lead.item.usualRatio !== null && `Usual: ${share(lead.item.usualRatio)} together. `}
              </>) : move ? (<>
                <b>
                  <NowText move={move}/>
                </b>
                {verdict(move, stress?.index ?? null, unusual)}.{" "}
              </>) : (market.stress && !lead && "No figures of the whole market. ")}
            {worst && (<>
                <SectorText item={worst} glance={glance}/>.{" "}
              </>)}
            {earlier && (<>
                {earlier.over && (lead && earlier.item.timestamp > lead.item.timestamp ? "Also, over: " : "Earlier: ")}
                <IncidentText item={earlier.item} now={now}/>.
              </>)}
          </p>
          {(lead ?? worst) && (<span className="acts">
              {lead && lead.item.symbols.length > 0 && (<Button icon="filter" label={`Show ${lead.item.symbols.length} symbols`} primary onClick={() => act.show("Synchronized move", lead.item.symbols)}/>)}
              {lead && lead.item.symbols.length > 0 && (<Button icon="bell" label="Mute others 1 h" onClick={() => act.muteRest(lead.item.symbols)}/>)}
              {worst && worst.symbols.length > 0 && (<Button icon="sectors" label={`Show ${worst.sector}`} onClick={() => act.show(worst.sector ?? "Sector", worst.symbols)}/>)}
            </span>)}
        </div>
      </div>
    </div>);
});
function Card({ title, note, className = "", children, }) {
    return (<section className={`mc ${className}`}>
      <h2>
        {title}
        {note !== undefined && <span className="r">{note}</span>}
      </h2>
      {children}
    </section>);
}
function StressCard({ market, glance, pad }) {
    const { stress } = market;
    if (!stress)
        return (<Card title="Market stress">
        <p className="t2">
          {market.lastStress
                ? `No market stress now. Last: ${Math.round(market.lastStress.stressIndex)} at ${clock(market.lastStress.timestamp)}.`
                : "No market stress so far."}
        </p>
      </Card>);
    return (<Card title="Market stress" note={glance.current ? deltaText(market.delta) || "0–100" : `at ${asOf(stress)}`}>
      <div className="gauge">
        <Gauge index={stress.index} mute={market.past}/>
        <StressChart points={stressCurve(pad.stressSeries, stress)} live={glance.current} mute={market.past}/>
      </div>
    </Card>);
}
function ComponentsCard({ stress }) {
    const points = roundTogether(stress.parts.map((part) => part.points), stress.index);
    return (<Card title="Stress components" note="percentile · points">
      <div className="stack">
        {stress.parts.map((part, i) => (<i key={part.name} title={words(part.name)} style={{ width: `${Math.max(0, part.points)}%`, opacity: i ? 1 - i * 0.12 : 1 }}/>))}
        <span className="rest"/>
      </div>
      {stress.parts.map((part, i) => (<div key={part.name} className={`comp${i ? "" : " lead"}`}>
          <span className="nm ell">{words(part.name)}</span>
          <span className="bar">
            <i style={{ width: `${part.percentile}%` }}/>
            <u />
          </span>
          <span className="num t3 pc">{ordinal(Math.round(part.percentile))}</span>
          <b className="num">{plain(points[i] ?? part.points, 1)}</b>
        </div>))}
    </Card>);
}
function ordinal(n) {
    const last = n % 10;
    const teen = Math.floor(n / 10) % 10 === 1;
    return `${n}${teen ? "th" : last === 1 ? "st" : last === 2 ? "nd" : last === 3 ? "rd" : "th"}`;
}
function BreadthCard({ market, glance, width }) {
    const { stress } = market;
    const { move } = glance;
    if (!move?.breadth || !stress)
        return null;
    const { up, flat, down } = move.breadth;
    const total = up + flat + down;
    const roomy = (count) => (count / total) * (width - 40) > 56;
    return (<Card title="Breadth" note={`${plain(total, 0)} symbols · ${till(move.window, stress.timestamp)}`}>
      <div className="breadth" role="img" aria-label={`${down} fell, ${flat} unchanged, ${up} rose`} data-window={move.window}>
        {down > 0 && (<span className="d" style={{ flexGrow: down }}>
            {roomy(down) && <b>▼ {down}</b>}
          </span>)}
        {flat > 0 && <span className="f" style={{ flexGrow: flat }}/>}
        {up > 0 && (<span className="u" style={{ flexGrow: up }}>
            {roomy(up) && <b>{up} ▲</b>}
          </span>)}
      </div>
      <div className="bl">
        <span>{share(down / total)} fell</span>
        <span>{share(flat / total)} flat</span>
        <span>{share(up / total)} rose</span>
      </div>
    </Card>);
}
function changesIn(pad, incident) {
    if (incident.changes.size)
        return incident.changes;
    const changes = new Map();
    for (const { alert } of pad.store.entries)
        if (alert.incident === incident.id && alert.changePct !== null)
            changes.set(alert.symbol, alert.changePct);
    return changes;
}
const OVER = {
    "": "",
    closed: "Over.",
    silent: "It has not been updated for longer than its window.",
    reversed: "The market has turned since.",
    few: "Fewer than half of the symbols move this way now.",
};
function SyncCard({ incident: { item, over, beside }, pad, glance: { now, current }, act, }) {
    const [all, setAll] = React.useState(false);
    const changes = changesIn(pad, item);
    const size = (symbol) => Math.abs(changes.get(symbol) ?? 0);
    const furthest = [...item.symbols].sort((a, b) => size(b) - size(a));
    const shown = all ? furthest.slice(0, 400) : furthest.slice(0, 6);
    const way = incidentWay(item);
    return (<Card className={over ? "" : `f-${item.severity}`} title={<>
          <Severity severity={item.severity} mute={over !== ""}/>
          {over ? `Over: ${incidentTitle(item).toLowerCase()}` : incidentTitle(item)}
        </>} note={`${clock(item.timestamp)}, ${ago(now - item.timestamp)}`}>
      <div className="sync">
        <Ring ratio={item.ratio ?? 0} usual={item.usualRatio} tone={over || way === null ? "var(--t3)" : way === "UP" ? "var(--up)" : "var(--down)"} size={84}/>
        <div>
          <Change value={item.averageChangePct} window={item.window} big/> <span className="t2">average</span>
          <div className="t2">{incidentSize(item)}</div>
          {item.usualRatio !== null && <div className="t3">Usual: {share(item.usualRatio)} (mark on the ring)</div>}
        </div>
      </div>
      {(over || beside) && (<p className="t2 since">
          {OVER[over]}{" "}
          {beside && (<>
              {current ? "Now: " : "Last: "}
              <NowText move={beside}/>.
            </>)}
        </p>)}
      <div className={`chips${all ? " all" : ""}`}>
        {shown.map((symbol) => {
            const change = changes.get(symbol) ?? null;
            const text = `${signed(change, 1)}%`;
            return (<button key={symbol} type="button" className="chip" title={`Show only ${symbol}`} onClick={() => act.filterSymbol(symbol)}>
              {splitSymbol(symbol)[0]}
              {change !== null && <span className={`num ${wayClass(wayOf(change, text))}`}> {text}</span>}
            </button>);
        })}
        {!all && item.symbols.length > shown.length && (<button type="button" className="chip" onClick={() => setAll(true)}>
            +{item.symbols.length - shown.length}
          </button>)}
      </div>
      <div className="acts">
        <Button icon="filter" label="Show symbols" onClick={() => act.show("Synchronized move", item.symbols)}/>
        <Button icon="bell" label="Mute symbols 1 h" onClick={() => act.mute(item.symbols)}/>
      </div>
    </Card>);
}
function Earlier({ items }) {
    return (<Card title="Earlier market anomalies">
      {items.length === 0 && <p className="t2">No other market anomaly.</p>}
      {marketEvents(items).map(({ item, stress }) => {
            const text = `${marketSentence(item)}${stress ? ` · ${stressText(stress, item.severity)}` : ""}`;
            return (<div key={item.id} className="mrow">
            <Severity severity={item.severity} size={12}/>
            <span>{text}</span>
            <time className="num t3">{clock(item.timestamp)}</time>
          </div>);
        })}
    </Card>);
}
const HEAT_FULL = 5;
function heat(change) {
    const amount = Math.sqrt(Math.min(1, Math.abs(change) / HEAT_FULL));
    return `color-mix(in srgb, var(--${change < 0 ? "down" : "up"}) ${Math.round(amount * 40)}%, var(--bg1))`;
}
const SIGMA = "1σ is the usual distance of this sector from the market";
const HeatMap = React.memo(function HeatMap({ market, glance, pad, act, shown, }) {
    const { stress } = market;
    const { tiles, move, hit, now, current } = glance;
    const live = move !== null && move.sectors.length > 0 && stress !== null;
    const note = tiles.length === 0 ? undefined : live ? `${till(move.window, stress.timestamp)} · largest first` : "last anomalies";
    const gaps = tiles.some(({ gap }) => gap !== null);
    const sigmas = !gaps || hit.some((item) => item.excessPct === null);
    return (<Card title="Sectors" note={note}>
      {tiles.length === 0 && <p className="t2">Sectors appear with the first prices.</p>}
      {hit.length > 0 && (<ul className="apart">
          {hit.slice(0, 4).map((item) => (<li key={item.id}>
              <Severity severity={item.severity} size={12}/>
              <span>
                <SectorText item={item} glance={glance}/>
                {item.deviation !== null && item.excessPct !== null && (<span className="t3" title={SIGMA}>
                    {" "}
                    · {plain(Math.abs(item.deviation), 1)} times its usual distance
                  </span>)}
              </span>
            </li>))}
          {hit.length > 4 && <li className="t3">and {hit.length - 4} more, marked below</li>}
        </ul>)}
      <div className="heat">
        {tiles.map(({ sector, performancePct, gap, deviation, members, anomaly }) => {
            const moving = anomaly?.membersMoving ?? null;
            const open = anomaly !== null && isOpen(anomaly);
            const symbols = pad.sectors.get(sector) ?? anomaly?.symbols ?? [];
            const about = [
                open ? sectorSentence(anomaly) : anomaly ? `Last anomaly ${ago(now - anomaly.timestamp)}` : "No anomaly",
                open && moving !== null ? `${moving} of ${anomaly.members ?? "–"} symbols moved with it` : "",
                gap === null || deviation === null
                    ? ""
                    : `${scoreText(deviation)} over ${span(move?.window ?? "")}: ${SIGMA}`,
            ]
                .filter(Boolean)
                .join(". ");
            return (<button key={sector} type="button" className={`tile${open ? ` flag f-${anomaly.severity}` : ""}${sector === shown ? " on" : ""}`} aria-pressed={sector === shown} title={`${about}. ${sector === shown ? "Show all alerts again" : "Show its alerts"}`} disabled={symbols.length === 0} style={{ background: heat(performancePct ?? 0) }} onClick={() => act.show(sector, symbols)}>
              <span className="n">
                <span className="ell grow">{sector}</span>
                {open && <Severity severity={anomaly.severity} size={11}/>}
              </span>
              <span className="p num">
                {gap === null ? percent(performancePct) : gapText(gap).replace(" with", "")}
              </span>
              <span className="d num">
                <span>
                  {gap === null ? scoreText(deviation) : `${current && live ? "now " : ""}${percent(performancePct)}`}
                </span>
                <span>{members ?? "–"}</span>
              </span>
            </button>);
        })}
      </div>
      {tiles.length > 0 && (<div className="legend">
          <span>−{HEAT_FULL}%</span>
          <span className="ramp">
            {[-5, -2, -0.5, 0, 0.5, 2, 5].map((change) => (<i key={change} style={{ background: heat(change) }}/>))}
          </span>
          <span className="r">+{HEAT_FULL}%</span>
          {gaps && <span>pp: percentage points above or below the median of the market</span>}
          {sigmas && <span>σ: distance from the market; 1σ is usual for the sector</span>}
          <span className="only-n">Right: number of symbols</span>
        </div>)}
    </Card>);
});
function MarketBones({ wide, summary, still }) {
    const stress = (<Card title="Market stress">
      <div className="bones" style={{ height: 118 }}>
        <Bones widths={[150, 150, 90]}/>
      </div>
    </Card>);
    const components = (<Card title="Stress components">
      <div className="bones" style={{ height: 142 }}>
        <Bones widths={[260, 200, 220, 180, 200]}/>
      </div>
    </Card>);
    return (<div className={`col-mkt${still ? " still" : ""}`} aria-busy={!still} role="region" aria-label="Market">
      {summary}
      {wide ? (<div className="mg2">
          {stress}
          {components}
        </div>) : (<>
          {stress}
          {components}
        </>)}
      <Card title="Breadth">
        <div className="bones" style={{ height: 40 }}>
          <Bones widths={[2000]}/>
        </div>
      </Card>
      <Card title="Sectors">
        <div className="heat">
          {Array.from({ length: 19 }, (_, i) => (<span key={i} className="tile sk"/>))}
        </div>
      </Card>
    </div>);
}
const MarketColumn = React.memo(function MarketColumn({ market, glance, pad, width, act, shown, summary, }) {
    if (!market.known)
        return <MarketBones wide={width >= 700} summary={summary} still={pad.status.error !== ""}/>;
    const windows = market.stress?.windows ?? [];
    const { lead } = glance;
    const syncs = [...(lead ? [lead.item] : []), ...glance.syncs.filter((item) => isOpen(item) && item !== lead?.item)]
        .slice(0, 2)
        .map((item) => ({ item, ...incidentState(item, windows, glance.now) }));
    const hasItsPlace = (item) => syncs.some((sync) => sync.item === item) ||
        (isOpen(item) && (item.type === "SECTOR_ANOMALY" || (item.type === "MARKET_STRESS" && market.stress !== null)));
    const happened = (item) => hasHappened(item, market.replay);
    const earlier = market.items.filter((item) => happened(item) && !hasItsPlace(item)).slice(0, syncs.length ? 9 : 12);
    const stress = <StressCard market={market} glance={glance} pad={pad}/>;
    const components = market.stress && <ComponentsCard stress={market.stress}/>;
    const moves = syncs.map((incident) => (<SyncCard key={incident.item.id} incident={incident} pad={pad} glance={glance} act={act}/>));
    const past = <Earlier items={earlier}/>;
    const sectors = <HeatMap market={market} glance={glance} pad={pad} act={act} shown={shown}/>;
    return (<div className={`col-mkt${market.past ? " past" : ""}`} tabIndex={-1} role="region" aria-label="Market">
      {summary}
      {width >= 700 ? (<div className="mg2">
          {stress}
          {components}
        </div>) : (<>
          {stress}
          <div className="mg2">
            {components}
            {moves}
          </div>
        </>)}
      <BreadthCard market={market} glance={glance} width={width}/>
      {width >= 700 && moves.length > 0 ? (<>
          <div className="mg2">
            {moves}
            {past}
          </div>
          {sectors}
        </>) : (<>
          {sectors}
          {past}
        </>)}
    </div>);
});
function IconButton({ icon, label, on = false, count, onClick, className = "", }) {
    return (<button type="button" className={`ib ${on ? "on" : ""} ${className}`} aria-label={label} aria-pressed={on} title={label} onClick={stop(onClick)}>
      <Icon name={icon}/>
      {count ? <span className="cnt">{count}</span> : null}
    </button>);
}
function Button({ icon, label, primary = false, disabled = false, onClick, }) {
    return (<button type="button" className={`btn${primary ? " pri" : ""}`} disabled={disabled} onClick={stop(onClick)}>
      {icon && <Icon name={icon}/>}
      {label}
    </button>);
}
const SOURCES = { live: "LIVE", replay: "REPLAY", simulated: "SIMULATED" };
function badgeOf(status, feed, feedAgeMs, stale, now, laggard) {
    const source = feed ? (SOURCES[feed.source] ?? words(feed.source).toUpperCase()) : "";
    const prefix = source && source !== "LIVE" ? `${source} · ` : "";
    if (!status.online && status.lostAt === null)
        return { tone: "WAIT", text: "Connecting…", note: "" };
    if (!status.online)
        return { tone: "OFFLINE", text: `${prefix}OFFLINE`, note: age(now - status.lostAt) };
    if (!feed)
        return { tone: "WAIT", text: "CONNECTED", note: "no prices yet" };
    const main = laggard === undefined ? {} : { main: feed.venue };
    if (stale)
        return { tone: "STALE", text: `${prefix}STALE`, note: longAge(feedAgeMs ?? 0), ...main };
    if (laggard)
        return {
            tone: "STALE",
            text: `${prefix}${laggard.venue} STALE`,
            note: longAge(laggard.ageMs),
            main: `${feed.venue}${source === "LIVE" ? " LIVE" : ""} ·`,
        };
    const note = feed.state === "warming"
        ? "warming up"
        : feed.state === "ended"
            ? "ended"
            : source === "LIVE" && feedAgeMs !== null
                ? feedAgeMs < 9_950
                    ? `${(feedAgeMs / 1000).toFixed(1)} s`
                    : longAge(feedAgeMs)
                : source === "REPLAY" && feed.progress !== null
                    ? `${Math.round(feed.progress * 100)}${NBSP}%`
                    : "";
    return { tone: source in RANK ? "WAIT" : source, text: source, note, ...main };
}
const BADGE_ICONS = { SIMULATED: "flask", REPLAY: "replay", STALE: "clock", OFFLINE: "plug" };
function Badge({ state, reason, badgeRef, }) {
    return (<span ref={badgeRef} className={`badge ${state.tone}`} role="status" title={reason || undefined}>
      {state.tone === "LIVE" ? (<span className="dotlive"/>) : (BADGE_ICONS[state.tone] && <Icon name={BADGE_ICONS[state.tone]} size={12}/>)}
      {state.main && <span className="vn only-n">{state.main}</span>}
      <span>{state.text}</span>
      {state.note && <span className="age">{state.note}</span>}
      {reason && <span className="vh">{reason}</span>}
    </span>);
}
function sourceLine(feed, replay, brief) {
    if (feed?.source === "replay") {
        return [
            replay && clock(replay.timestamp, !brief && intervalMs(feed.interval) < 60_000, { full: true }),
            replay?.speed && feed.state === "ok" && `${plain(replay.speed, Number.isInteger(replay.speed) ? 0 : 1)}×`,
            feed.state === "ended" ? "ended" : feed.progress !== null && `${Math.round(feed.progress * 100)}${NBSP}%`,
            feed.venue === "replay" ? "replay" : `replay of ${playedVenue(feed.venue)}`,
        ]
            .filter(Boolean)
            .join(" · ");
    }
    if (feed?.source !== "simulated")
        return "";
    const reason = feed.reason.trim();
    return `Simulated market: these are not real prices.${reason && ` ${titled(reason)}${/[.!?]$/.test(reason) ? "" : "."}`}`;
}
function SourceLine({ feed, replay, width }) {
    const text = sourceLine(feed, replay, width < 360);
    if (!text)
        return null;
    return (<p className={`source ${feed.source === "simulated" ? "sim num-wrap" : "num"}`} aria-label="Source of the prices">
      {text}
      {feed.source === "replay" && feed.progress !== null && (<i aria-hidden="true" style={{ width: `${Math.min(100, Math.max(0, feed.progress * 100))}%` }}/>)}
    </p>);
}
function SeverityToggles({ counts, more, hidden, onToggle, }) {
    return (<span className="sevt" role="group" aria-label="Severities shown">
      {SEVERITIES.map((severity) => {
            const count = counts[severity] === undefined ? "–" : countText(counts[severity], more);
            return (<button key={severity} type="button" className={hidden.includes(severity) ? "off" : ""} aria-pressed={!hidden.includes(severity)} aria-label={`${words(severity)}, ${count} open`} title={`${words(severity)}: ${count} open`} onClick={() => onToggle(severity)}>
            <Severity severity={severity} size={12}/>
            <span className="num">{count}</span>
          </button>);
        })}
    </span>);
}
function Search({ value, inputRef, onChange, }) {
    return (<label className="search">
      <Icon name="search"/>
      <span className="vh">Search a symbol</span>
      <input ref={inputRef} type="search" placeholder="Symbol…" value={value} spellCheck={false} autoComplete="off" onChange={(event) => onChange(event.target.value)}/>
      {!value && <kbd>/</kbd>}
    </label>);
}
function Toggle({ on, label, onClick, disabled = false, className = "", }) {
    return (<button type="button" className={`ctl${on ? " on" : ""} ${className}`} aria-pressed={on} disabled={disabled} onClick={onClick}>
      {label}
    </button>);
}
const FOCUSABLE = "a[href],button:not(:disabled),input:not(:disabled),select,textarea,[tabindex='0']";
function Overlay({ title, onClose, children }) {
    const box = React.useRef(null);
    React.useEffect(() => {
        const [opener, root] = [document.activeElement, box.current?.closest(".aa")];
        (box.current?.querySelector("input,button:not(.x)") ?? box.current)?.focus();
        return () => {
            if (document.activeElement !== document.body && document.activeElement !== root)
                return;
            const back = opener instanceof HTMLElement && opener.isConnected && opener !== document.body ? opener : root;
            back?.focus({ preventScroll: true });
        };
    }, []);
    const onKeyDown = (event) => {
        if (event.key === "Escape") {
            event.stopPropagation();
            onClose();
        }
        if (event.key !== "Tab" || !box.current)
            return;
        const stops = [...box.current.querySelectorAll(FOCUSABLE)].filter((element) => element.getClientRects().length > 0);
        const [first, last] = [stops[0], stops[stops.length - 1]];
        const at = document.activeElement;
        const leaves = event.shiftKey ? at === first : at === last;
        if (!first || !last || !(leaves || !box.current.contains(at) || at === box.current))
            return;
        event.preventDefault();
        (event.shiftKey ? last : first).focus();
    };
    return (<>
      <div className="scrim" onClick={onClose}/>
      <div ref={box} className="menu" role="dialog" aria-modal="true" aria-label={title} tabIndex={-1} onKeyDown={onKeyDown}>
        <div className="menuhd">
          <b>{title}</b>
          <button type="button" className="ib sm x" aria-label="Close" onClick={onClose}>
            <Icon name="close" size={12}/>
          </button>
        </div>
        {children}
      </div>
    </>);
}
const LAYOUTS = [
    { layout: "compact", label: "Compact", note: "One line per alert, 28 px" },
    { layout: "cards", label: "Cards", note: "Sparkline, band and description, 106 px" },
    { layout: "table", label: "Table", note: "Sortable columns, 24 px" },
];
function LayoutMenu({ settings, change, onClose, }) {
    return (<Overlay title="Layout" onClose={onClose}>
      {LAYOUTS.map(({ layout, label, note }) => (<button key={layout} type="button" className={`mi${settings.layout === layout ? " on" : ""}`} aria-pressed={settings.layout === layout} onClick={() => (change({ layout }), onClose())}>
          <Icon name={layout}/>
          <span className="grow">
            {label}
            <small>{note}</small>
          </span>
          {settings.layout === layout && <Icon name="check"/>}
        </button>))}
    </Overlay>);
}
const PRESETS = [
    { label: "All alerts", change: NO_FILTERS },
    { label: "High and critical", change: { ...NO_FILTERS, hiddenSeverities: ["MEDIUM", "LOW"] } },
    { label: "Open alerts", change: { ...NO_FILTERS, hideClosed: true } },
    { label: "Active symbol", change: { ...NO_FILTERS, onlyActive: true }, needs: "active" },
    { label: "My positions", change: { ...NO_FILTERS, onlyPositions: true }, needs: "account" },
];
const flip = (list, value) => list.includes(value) ? list.filter((other) => other !== value) : [...list, value];
function FilterMenu({ settings, change, host, counts, more, methods, sectors, shown, onClose, }) {
    return (<Overlay title="Filters" onClose={onClose}>
      <Search value={settings.search} onChange={(search) => change({ search })}/>
      <div className="fld">
        <span className="lbl">Presets</span>
        <div className="cks">
          {PRESETS.filter(({ needs }) => !needs || host[needs]).map(({ label, change: preset }) => (<button key={label} type="button" className="ctl" onClick={() => change(preset)}>
              {label}
            </button>))}
        </div>
      </div>
      <div className="fld">
        <span className="lbl">Severity</span>
        <SeverityToggles counts={counts} more={more} hidden={settings.hiddenSeverities} onToggle={(severity) => change({ hiddenSeverities: flip(settings.hiddenSeverities, severity) })}/>
      </div>
      <div className="fld">
        <span className="lbl">Method (none selected: all)</span>
        <div className="cks">
          {methods.map((method) => (<Toggle key={method} on={settings.methods.includes(method)} label={methodName(method)} onClick={() => change({ methods: flip(settings.methods, method) })}/>))}
        </div>
      </div>
      {sectors.size > 0 && (<label className="fld">
          <span className="lbl">Sector</span>
          <select value={settings.group && sectors.has(settings.group.label) ? settings.group.label : ""} onChange={({ target }) => change({ group: target.value ? { label: target.value, symbols: sectors.get(target.value) ?? [] } : null })}>
            <option value="">All {sectors.size} sectors</option>
            {[...sectors.keys()].sort().map((sector) => (<option key={sector}>{sector}</option>))}
          </select>
        </label>)}
      <div className="fld">
        <span className="lbl">Only</span>
        <div className="cks">
          {(host.active || settings.onlyActive) && (<Toggle on={settings.onlyActive} label="Active symbol" onClick={() => change({ onlyActive: !settings.onlyActive })}/>)}
          {(host.account || settings.onlyPositions) && (<Toggle on={settings.onlyPositions} label="My positions" onClick={() => change({ onlyPositions: !settings.onlyPositions })}/>)}
          <Toggle on={settings.hideClosed} label="Open alerts" onClick={() => change({ hideClosed: !settings.hideClosed })}/>
          {settings.group && !sectors.has(settings.group.label) && (<Toggle on label={`${settings.group.label}: ${settings.group.symbols.length}`} onClick={() => change({ group: null })}/>)}
        </div>
      </div>
      <div className="fld">
        <span className="lbl">Channels</span>
        <div className="cks">
          {CHANNELS.map((channel) => {
            const on = settings.channels.length === 0 || settings.channels.includes(channel);
            return (<Toggle key={channel} on={on} label={words(channel)} onClick={() => change({ channels: on ? CHANNELS.filter((other) => other !== channel) : [] })}/>);
        })}
        </div>
      </div>
      <div className="acts">
        <Button label="Reset filters" onClick={() => change(NO_FILTERS)}/>
        <span className="grow"/>
        <Button primary label={`Show ${countText(shown)} ${shown === 1 ? "alert" : "alerts"}`} onClick={onClose}/>
      </div>
    </Overlay>);
}
const LEVELS = [
    ["OFF", "Off"],
    ["CRITICAL", "Critical"],
    ["HIGH", "High and up"],
    ["MEDIUM", "Medium and up"],
    ["LOW", "All"],
];
const THEMES = [
    ["system", "System"],
    ["dark", "Dark"],
    ["light", "Light"],
];
const ZONES_OF_TIME = [
    ["local", "Local"],
    ["utc", "UTC"],
];
function TokenField({ server }) {
    const [kept, setKept] = React.useState(() => tokenOf(server) !== "");
    const [token, setToken] = React.useState("");
    const keep = (next) => {
        if (!keepToken(server, next))
            return api.toast.error("This browser keeps nothing for this page.");
        setKept(next !== "");
        setToken("");
        Pad.of(server).reconnect();
    };
    return (<form className="fld" onSubmit={(event) => (event.preventDefault(), keep(token.trim()))}>
      <label className="lbl" htmlFor="aa-token">
        Token for this server{kept && " (one is kept in this browser)"}
      </label>
      <span className="inl">
        <input id="aa-token" type="password" autoComplete="off" placeholder={kept ? "another one" : "ank_…"} value={token} onChange={(event) => setToken(event.target.value)}/>
        <button type="submit" className="btn" disabled={!/^[\x21-\x7e]{8,200}$/.test(token.trim())}>
          Use
        </button>
        {kept && (<button type="button" className="btn" onClick={() => keep("")}>
            Forget
          </button>)}
      </span>
    </form>);
}
function SettingsMenu({ settings, change, host, zone, now, onZone, onCopyLink, onClose, }) {
    const [server, setServer] = React.useState(settings.server);
    const { links = [], actions = [] } = defaults();
    const allowNotifications = async (level) => {
        if (level !== "OFF" && (await Notification.requestPermission()) !== "granted") {
            api.toast.warning("The browser does not allow notifications from this page.");
            return;
        }
        change({ notify: level });
    };
    return (<Overlay title="Settings" onClose={onClose}>
      <form className="fld" onSubmit={(event) => (event.preventDefault(), change({ server: server.trim().replace(/\/+$/, "") }))}>
        <label className="lbl" htmlFor="aa-server">
          Alert server
        </label>
        <span className="inl">
          <input id="aa-server" value={server} spellCheck={false} onChange={(event) => setServer(event.target.value)}/>
          <button type="submit" className="btn" disabled={server === settings.server || !/^https?:\/\/\S+$/.test(server)}>
            Connect
          </button>
        </span>
      </form>
      <TokenField key={settings.server} server={settings.server}/>
      <div className="fld">
        <span className="lbl">Theme</span>
        <div className="cks" role="group" aria-label="Theme">
          {THEMES.map(([theme, label]) => (<Toggle key={theme} on={settings.theme === theme} label={label} onClick={() => change({ theme })}/>))}
        </div>
      </div>
      <div className="fld">
        <span className="lbl">Times (now {clock(now, false, { full: true, zone })})</span>
        <div className="cks" role="group" aria-label="Times">
          {ZONES_OF_TIME.map(([name, label]) => (<Toggle key={name} on={zone === name} label={label} onClick={() => onZone(name)}/>))}
        </div>
      </div>
      {canSound() && (<div className="fld">
          <span className="lbl">Sound on new alerts</span>
          <Levels value={settings.sound} onChange={(sound) => sound === "OFF" ? change({ sound }) : (void beep(sound), change({ sound, soundOn: sound }))}/>
        </div>)}
      {typeof Notification !== "undefined" && (<div className="fld">
          <span className="lbl">Browser notifications</span>
          <Levels value={settings.notify} onChange={(level) => void allowNotifications(level)}/>
        </div>)}
      {host.account && (<div className="fld">
          <span className="lbl">Order buttons (real money, asks first)</span>
          <span className="inl">
            <Toggle on={settings.orders} label={settings.orders ? "On" : "Off"} onClick={() => change({ orders: !settings.orders })}/>
            {settings.orders && (<label className="inl">
                USD{" "}
                <input type="number" min={1} value={settings.orderUsd} onChange={(event) => change({ orderUsd: Math.max(1, Number(event.target.value) || 1) })}/>
              </label>)}
          </span>
        </div>)}
      <div className="fld">
        <span className="lbl">This view: filters, layout, window and selection</span>
        <div className="cks">
          <button type="button" className="ctl" onClick={onCopyLink}>
            <Icon name="link"/>
            Copy link
          </button>
        </div>
      </div>
      {(links.length > 0 || actions.length > 0) && (<div className="fld">
          <span className="lbl">More</span>
          <div className="cks">
            {actions.map(({ label, run }) => (<button key={label} type="button" className="ctl" onClick={() => void run()}>
                {label}
              </button>))}
            {links.map(({ label, href }) => (<a key={href} className="ctl" href={href}>
                {label}
              </a>))}
          </div>
        </div>)}
    </Overlay>);
}
function Levels({ value, onChange }) {
    return (<div className="cks">
      {LEVELS.map(([level, label]) => (<Toggle key={level} on={value === level} label={label} onClick={() => onChange(level)}/>))}
    </div>);
}
const KEYS = [
    ["J K", "next, previous"],
    ["↓ ↑", "the same, on a row"],
    ["Enter", "expand, collapse"],
    ["Esc", "close, leave"],
    ["O", "chart"],
    ["C", "copy"],
    ["M", "mute 1 h"],
    ["A", "acknowledge"],
    ["/", "search"],
    ["1–4", "hide a severity"],
    ["L", "layout"],
    ["P", "pause, resume"],
    ["G", "go to newest"],
    ["?", "keys"],
];
function KeysMenu({ everywhere, onClose }) {
    return (<Overlay title="Keys" onClose={onClose}>
      <p className="t2">
        {everywhere ? "They work anywhere on this page." : "They work while the panel has the focus: click it first."}{" "}
        O, C, M and A act on the row that has the focus.
      </p>
      <dl className="keys">
        {KEYS.map(([key, what]) => (<React.Fragment key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{what}</dd>
          </React.Fragment>))}
      </dl>
    </Overlay>);
}
function headerOf(available, controls, extras) {
    const more = controls.reduce((sum, [, width]) => sum + width, 0) > available;
    let left = available - (more ? controls[0][1] : 0);
    const shown = new Set();
    for (const [name, width] of controls) {
        left -= width;
        if (left < 0)
            break;
        shown.add(name);
    }
    const added = new Set();
    for (const [name, width] of more ? [] : extras) {
        if (width > left)
            continue;
        left -= width;
        added.add(name);
    }
    return { controls: shown, extras: added, more };
}
function Header(props) {
    const { width, badge, settings, change, host, counts, uncounted, paused, menu, onMenu } = props;
    const [badgeRef, { width: badgeWidth }] = useSize();
    const wide = width >= WIDE;
    const toggles = SEVERITIES.reduce((sum, severity) => sum + Math.max(35, 32 + 7 * countText(counts[severity] ?? 0, uncounted).length), 12);
    const extras = [
        ...(wide ? [["search", 160]] : []),
        ["severities", toggles],
        ["title", 78],
        ["layoutName", 60],
        ...(wide && host.active ? [["active", 84]] : []),
        ...(wide && host.account ? [["positions", 96]] : []),
        ...(wide && props.source ? [["source", 200]] : []),
    ];
    const all = ["filter", "pause", "layout", "settings", ...(canSound() ? ["sound"] : [])];
    const tight = width < 360;
    const room = width === 0 ? Infinity : width - badgeWidth - (tight ? 14 : 30);
    const icon = tight ? 30 : 34;
    const { controls, extras: shown, more, } = headerOf(room, all.map((name) => [name, name === "layout" && !tight ? 52 : icon]), extras);
    const sound = () => settings.sound === "OFF"
        ? (void beep(settings.soundOn), change({ sound: settings.soundOn }))
        : change({ sound: "OFF" });
    const labels = {
        filter: "Filters",
        pause: paused ? "Resume (P)" : "Pause (P)",
        layout: `Layout: ${settings.layout}`,
        settings: "Settings",
        sound: settings.sound === "OFF" ? "Sound is off" : `Sound: ${settings.sound.toLowerCase()} and up`,
    };
    const icons = {
        filter: "filter",
        pause: paused ? "play" : "pause",
        layout: settings.layout,
        settings: "gear",
        sound: settings.sound === "OFF" ? "mute" : "sound",
    };
    const runs = {
        filter: () => onMenu("filter"),
        pause: props.onPause,
        layout: () => onMenu("layout"),
        settings: () => onMenu("settings"),
        sound,
    };
    const on = {
        filter: menu === "filter",
        pause: paused,
        layout: menu === "layout",
        settings: menu === "settings",
        sound: settings.sound !== "OFF",
    };
    const control = (name) => controls.has(name) && (<IconButton key={name} icon={icons[name]} label={labels[name]} on={on[name]} {...(name === "filter" && { count: props.filters })} onClick={runs[name]}/>);
    return (<header className="hd">
      {shown.has("title") && <span className="title">Anomalies</span>}
      <span className="badgebox">
        <Badge state={badge} reason={props.reason} badgeRef={badgeRef}/>
      </span>
      {shown.has("source") && (<span className="t2 ell src" title={props.source}>
          {props.source}
        </span>)}
      {shown.has("search") ? (<>
          <span className="sep"/>
          <Search value={settings.search} inputRef={props.searchRef} onChange={(search) => change({ search })}/>
        </>) : (<span className="grow"/>)}
      {shown.has("severities") && (<SeverityToggles counts={counts} more={uncounted} hidden={settings.hiddenSeverities} onToggle={(severity) => change({ hiddenSeverities: flip(settings.hiddenSeverities, severity) })}/>)}
      {control("filter")}
      {shown.has("active") && (<Toggle on={settings.onlyActive} label={<>
              <Icon name="chart"/>
              Active
            </>} onClick={() => change({ onlyActive: !settings.onlyActive })}/>)}
      {shown.has("positions") && (<Toggle on={settings.onlyPositions} label={<>
              <Icon name="user"/>
              Positions
            </>} onClick={() => change({ onlyPositions: !settings.onlyPositions })}/>)}
      {shown.has("search") && <span className="grow"/>}
      {controls.has("layout") && (<button type="button" className="ctl lay" aria-label={labels.layout} aria-haspopup="dialog" onClick={runs.layout}>
          <Icon name={settings.layout}/>
          {shown.has("layoutName") && <span>{words(settings.layout)}</span>}
          <Icon name="down" size={10}/>
        </button>)}
      {control("sound")}
      {control("pause")}
      {control("settings")}
      {more && (<IconButton className="dots" icon="more" label="More controls" on={menu === "more"} onClick={() => onMenu("more")}/>)}
      {more && menu === "more" && (<Overlay title="More" onClose={() => onMenu(null)}>
          {all
                .filter((name) => !controls.has(name))
                .map((name) => (<button key={name} type="button" className={`mi${on[name] ? " on" : ""}`} aria-pressed={on[name]} onClick={() => (onMenu(null), runs[name]())}>
                <Icon name={icons[name]}/>
                <span className="grow">{labels[name]}</span>
                {name === "filter" && props.filters > 0 && <span className="num t2">{props.filters} on</span>}
              </button>))}
          <button type="button" className="mi" onClick={() => onMenu("keys")}>
            <Icon name="keys"/>
            <span className="grow">Keys</span>
          </button>
        </Overlay>)}
    </header>);
}
function Chips({ chips, hidden, change, onCopyLink, }) {
    const filters = chips.filter(({ mute }) => !mute);
    return (<div className="chipbar" role="group" aria-label="What hides rows">
      {chips.map(({ key, label, remove, mute }) => (<button key={key} type="button" className={`fchip${mute ? " mute" : ""}`} aria-label={`${mute ? "Unmute" : "Remove the filter"}: ${label}`} title={mute ? "Unmute" : "Remove this filter"} onClick={() => change(remove)}>
          {mute && <Icon name="bell" size={12}/>}
          <span className="ell">{label}</span>
          <Icon name="close" size={10}/>
        </button>))}
      {filters.length > 1 && (<button type="button" className="lnk und tgt" onClick={() => change(NO_FILTERS)}>
          Reset filters
        </button>)}
      {filters.length > 0 && (<button type="button" className="lnk und tgt" onClick={onCopyLink}>
          Copy link
        </button>)}
      {hidden > 0 && <span className="t3 num">{countText(hidden)} hidden</span>}
    </div>);
}
const WIDE = 900;
const LIST_WIDTH = 628;
const OVERSCAN_PX = 240;
const HOVER_READS_MS = 300;
const FLASH_MS = 700;
const FLASH_AT_MOST = 8;
const ANNOUNCE_EVERY_MS = 5_000;
function useSize() {
    const ref = React.useRef(null);
    const [size, setSize] = React.useState({ width: 0, height: 0 });
    React.useLayoutEffect(() => {
        const element = ref.current;
        if (!element)
            return;
        const measure = () => setSize({ width: element.clientWidth, height: element.clientHeight });
        const observer = new ResizeObserver(measure);
        observer.observe(element);
        measure();
        return () => observer.disconnect();
    }, []);
    return [ref, size];
}
function useTouch() {
    const query = React.useMemo(() => globalThis.matchMedia?.(COARSE) ?? null, []);
    const subscribe = React.useCallback((changed) => {
        query?.addEventListener("change", changed);
        return () => query?.removeEventListener("change", changed);
    }, [query]);
    const matches = () => query?.matches ?? false;
    return React.useSyncExternalStore(subscribe, matches, matches);
}
const COARSE = "(pointer: coarse)";
function useNow() {
    const [now, setNow] = React.useState(Date.now);
    React.useEffect(() => {
        const timer = setInterval(() => setNow(Date.now()), 1_000);
        return () => clearInterval(timer);
    }, []);
    return now;
}
function usePad(settings) {
    const pad = React.useMemo(() => Pad.of(settings.server), [settings.server]);
    React.useSyncExternalStore(pad.subscribe, pad.getVersion, pad.getVersion);
    const held = React.useRef(null);
    const channels = settings.channels.join();
    const scope = React.useMemo(() => ({ channels: channels ? channels.split(",") : [], severities: [], symbols: [] }), [channels]);
    const wanted = React.useRef(scope);
    React.useEffect(() => {
        wanted.current = scope;
        held.current?.change(scope);
    }, [scope]);
    React.useEffect(() => {
        const hold = pad.retain(wanted.current);
        held.current = hold;
        return () => hold.release();
    }, [pad]);
    return pad;
}
const MUTES_NAMED = 3;
function chipsOf(settings, now) {
    const searched = searchedIn(settings.search);
    const shown = SEVERITIES.filter((severity) => !settings.hiddenSeverities.includes(severity));
    const filters = [
        [
            settings.hiddenSeverities.length > 0,
            "severity",
            shown.length ? shown.map(words).join(", ") : "No severity",
            { hiddenSeverities: [] },
        ],
        [settings.methods.length > 0, "method", settings.methods.map(methodName).join(", "), { methods: [] }],
        [searched.length > 0, "search", `“${searched.join(", ")}”`, { search: "" }],
        [settings.group !== null, "group", settings.group?.label ?? "", { group: null }],
        [settings.onlyActive, "active", "Active symbol", { onlyActive: false }],
        [settings.onlyPositions, "positions", "My positions", { onlyPositions: false }],
        [settings.hideClosed, "open", "Open alerts", { hideClosed: false }],
    ];
    const muted = Object.entries(unexpired(settings.muted, now)).sort(([a], [b]) => (a < b ? -1 : 1));
    const last = Math.max(...muted.map(([, until]) => until));
    const rest = settings.restMuted && settings.restMuted.until > now ? settings.restMuted : null;
    return [
        ...filters.filter(([on]) => on).map(([, key, label, remove]) => ({ key, label, remove, mute: false })),
        ...(muted.length > MUTES_NAMED
            ? [
                {
                    key: "muted",
                    label: `${muted.length} symbols muted until ${clockOfBrowser(last)}`,
                    remove: { muted: {} },
                    mute: true,
                },
            ]
            : muted.map(([symbol, until]) => ({
                key: `muted:${symbol}`,
                label: `${symbol} muted until ${clockOfBrowser(until)}`,
                remove: { muted: Object.fromEntries(muted.filter(([other]) => other !== symbol)) },
                mute: true,
            }))),
        ...(rest
            ? [
                {
                    key: "rest",
                    label: `All but ${rest.symbols.length} symbols muted until ${clockOfBrowser(rest.until)}`,
                    remove: { restMuted: null },
                    mute: true,
                },
            ]
            : []),
    ];
}
const clockOfBrowser = (timestamp) => clock(timestamp, false, { today: Date.now() });
function acceptOf(settings, host, now) {
    const group = settings.group ? new Set(settings.group.symbols.map(coinOf)) : null;
    const rest = settings.restMuted && settings.restMuted.until > now ? new Set(settings.restMuted.symbols) : null;
    const searched = searchedIn(settings.search);
    const names = chipsOf(settings, now)
        .filter(({ mute }) => !mute)
        .map(({ label }) => label);
    const accepts = (alert) => !settings.hiddenSeverities.includes(alert.severity) &&
        (settings.methods.length === 0 || settings.methods.includes(alert.method)) &&
        (searched.length === 0 || searched.some((word) => alert.symbol.includes(word))) &&
        (!group || group.has(coinOf(alert.symbol))) &&
        (!rest || rest.has(alert.symbol)) &&
        (!settings.onlyActive || alert.symbol === host.active) &&
        (!settings.onlyPositions || host.positions.has(alert.symbol)) &&
        (!settings.hideClosed || !isClosed(alert)) &&
        !((settings.muted[alert.symbol] ?? 0) > now);
    return { accepts, names };
}
const toggled = (set, value) => {
    const next = new Set(set);
    if (!next.delete(value))
        next.add(value);
    return next;
};
function useSectorOf(settings, pad) {
    const { group } = settings;
    const unresolved = group !== null && group.symbols.length === 0;
    const { sectors, status } = pad;
    React.useEffect(() => {
        if (unresolved && status.loaded)
            void pad.loadSectors();
    }, [pad, unresolved, status.loaded]);
    return React.useMemo(() => group && unresolved ? { ...settings, group: { ...group, symbols: sectors.get(group.label) ?? [] } } : settings, [settings, group, unresolved, sectors]);
}
function useLink(settings, pad, { tab, setTab, expanded, setExpanded, }) {
    const { address } = defaults();
    const [linked, setLinked] = React.useState(() => viewOf(address?.read() ?? "").alert);
    const { loaded } = pad.status;
    React.useEffect(() => {
        if (linked === null || !loaded)
            return;
        let mounted = true;
        void pad.load(linked).then((found) => {
            if (!mounted)
                return;
            setLinked(null);
            if (found)
                setExpanded(linked);
            else
                api.toast.warning("The server does not have the alert of this link.");
        });
        return () => {
            mounted = false;
        };
    }, [pad, linked, loaded, setExpanded]);
    React.useEffect(() => address?.subscribe(() => {
        const view = viewOf(address.read());
        setTab(view.tab);
        setExpanded(null);
        setLinked(view.alert);
    }), [address, setTab, setExpanded]);
    const alert = expanded ?? linked;
    const query = React.useMemo(() => queryOf(settings, { tab, alert, sectors: pad.sectors }), [settings, tab, alert, pad.sectors]);
    React.useEffect(() => address?.write(query), [address, query]);
    return query;
}
function useKeysOfPage(onKeyDown) {
    const run = React.useRef(onKeyDown);
    React.useLayoutEffect(() => {
        run.current = onKeyDown;
    });
    React.useEffect(() => {
        if (!defaults().address)
            return;
        const listen = (event) => event.target === document.body && run.current(event);
        document.addEventListener("keydown", listen);
        return () => document.removeEventListener("keydown", listen);
    }, []);
}
const DAY_MS = 86_400_000;
function useCounts(settings, host, pad) {
    const { store, sectors, summary } = pad;
    const symbols = store.symbols.size;
    const oldest = store.entries[0]?.at ?? 0;
    const wanted = React.useMemo(() => (symbols < 0 ? null : wantedOf(settings, host, new Set([...store.symbols, ...[...sectors.values()].flat()]))), [settings, host, store, symbols, sectors]);
    React.useEffect(() => pad.want(wanted), [pad, wanted]);
    const matches = React.useMemo(() => acceptOf({ ...settings, hiddenSeverities: [], muted: {}, restMuted: null }, host, 0).accepts, [settings, host]);
    const now = pad.marketNow();
    const since = now - DAY_MS;
    const { left, loaded } = React.useMemo(() => {
        const isShown = (alert) => !settings.hiddenSeverities.includes(alert.severity) && matches(alert);
        const of24h = summary ? store.entries.filter(({ at, alert }) => at >= since && isShown(alert)).length : 0;
        return { left: summary && oldest >= 0 ? Math.max(0, summary.last24h.alerts - of24h) : null, loaded: isShown };
    }, [settings.hiddenSeverities, matches, store, summary, oldest]);
    const listQuery = wanted ? listQueryOf(wanted) : "";
    const counts = pad.status.loaded ? { CRITICAL: 0, HIGH: 0, MEDIUM: 0, LOW: 0 } : {};
    const seen = new Set();
    let [open, day] = [0, 0];
    for (const { at, alert } of store.entries) {
        if (summary && at >= since && at <= now && loaded(alert))
            day += 1;
        if (isClosed(alert) || !matches(alert))
            continue;
        counts[alert.severity] = (counts[alert.severity] ?? 0) + 1;
        if (!loaded(alert))
            continue;
        open += 1;
        seen.add(alert.symbol);
    }
    if (!summary)
        return {
            counts,
            open,
            openSymbols: seen.size,
            uncounted: open > 0 && pad.olderOf(listQuery).more,
            day: null,
            left,
            listQuery,
        };
    const sum = (counted) => Object.values(counted).reduce((total, count) => total + count, 0);
    return {
        counts: sum(counts) > sum(summary.open.severities) ? counts : { ...summary.open.severities },
        open: Math.max(open, summary.open.alerts),
        openSymbols: Math.max(seen.size, summary.open.symbols),
        uncounted: false,
        day: Math.max(day, summary.last24h.alerts),
        left,
        listQuery,
    };
}
function Component() {
    const [chosen, change] = useSettings();
    const host = useHost();
    const pad = usePad(chosen);
    const settings = useSectorOf(chosen, pad);
    const now = useNow();
    const [zone, setZone] = useTimezone();
    const hostTheme = themeOf(api.hooks.useTheme());
    const theme = settings.theme === "system" ? hostTheme : settings.theme;
    const [rootRef, { width }] = useSize();
    const [menu, setMenu] = React.useState(null);
    const [tab, setTab] = React.useState(() => viewOf(defaults().address?.read() ?? "").tab);
    const [expanded, setExpanded] = React.useState(null);
    const query = useLink(settings, pad, { tab, setTab, expanded, setExpanded });
    const [expandedHeight, setExpandedHeight] = React.useState(340);
    const [focused, setFocused] = React.useState(null);
    const [folded, setFolded] = React.useState(new Set());
    const [unfolded, setUnfolded] = React.useState(new Set());
    const [paused, setPaused] = React.useState(false);
    const [reading, setReading] = React.useState({ scrolled: false, hovered: false, focusedIn: false });
    const [announcement, setAnnouncement] = React.useState("");
    const [heldFor, setHeldFor] = React.useState(null);
    const searchRef = React.useRef(null);
    const listRef = React.useRef(null);
    const [cutoff, setCutoff] = React.useState(Infinity);
    const [held, setHeld] = React.useState(null);
    const touch = useTouch();
    React.useLayoutEffect(installStyle, []);
    const { store, status } = pad;
    const isReading = status.loaded && (paused || expanded !== null || reading.scrolled || reading.hovered || reading.focusedIn);
    if (isReading !== cutoff < Infinity)
        setCutoff(isReading ? store.seq : Infinity);
    const onReading = React.useCallback((part) => setReading((old) => Object.entries(part).every(([name, value]) => old[name] === value) ? old : { ...old, ...part }), []);
    React.useLayoutEffect(() => {
        if (reading.focusedIn && document.activeElement === document.body)
            rootRef.current?.focus({ preventScroll: true });
    });
    const { accepts, names } = React.useMemo(() => acceptOf(settings, host, now), [settings, host, now]);
    const wide = width >= WIDE;
    const listWidth = wide ? LIST_WIDTH : width;
    const ordered = JSON.stringify([settings.server, settings.sort, settings.layout, names]);
    const list = layoutList(store.entries, {
        layout: settings.layout,
        sort: settings.sort,
        accepts,
        cutoff,
        pins: !paused,
        held: held?.of === ordered ? held.order : null,
        incidents: store.market,
        unfolded,
        folded,
        expanded,
        expandedHeight,
        touch,
    });
    if (isReading ? held?.of !== ordered : held !== null)
        setHeld(isReading ? { order: holdOf(list), of: ordered } : null);
    const expandedIsGone = expanded !== null && !list.items.some((item) => item.kind === "alert" && item.expanded);
    if (expandedIsGone)
        setExpanded(null);
    const { counts, open, openSymbols, uncounted, day, left, listQuery } = useCounts(settings, host, pad);
    const flash = !((store.entries[store.entries.length - FLASH_AT_MOST]?.arrived ?? 0) > now - 1_000);
    const stale = pad.isStale(now);
    const frozen = stale || !status.online;
    const [version, hasFeed, ended] = [pad.marketVersion, pad.feed !== null, pad.feed?.state === "ended"];
    const market = React.useMemo(() => marketState(pad, { version, status, hasFeed, stale: frozen, ended }), [pad, version, status, hasFeed, frozen, ended]);
    const marketNow = pad.marketNow(now);
    const second = Math.floor(marketNow / 1_000) * 1_000;
    const glance = React.useMemo(() => glanceOf(market, settings.window, second, heldFor), [market, settings.window, second, heldFor]);
    const laggard = pad.laggard(now);
    const badge = badgeOf(status, pad.feed, pad.feedAgeMs(now), stale, now, laggard);
    const scrollTo = (top) => listRef.current && (listRef.current.scrollTop = top);
    const release = () => {
        setCutoff(store.seq);
        setHeld(null);
        setPaused(false);
        setExpanded(null);
        setReading((old) => ({ ...old, scrolled: false }));
        scrollTo(0);
    };
    const { mode: reviewMode, review } = useReviewing(pad);
    const copyLink = () => copied(`${pad.server}/${query && `?${query}`}`, "Link copied.");
    const present = { settings, host, change, accepts, paused, review, list };
    const latest = React.useRef(present);
    React.useLayoutEffect(() => {
        latest.current = present;
    });
    React.useLayoutEffect(() => {
        const [box, { items, tops }] = [listRef.current, latest.current.list];
        const i = items.findIndex((item) => item.kind === "alert" && item.expanded);
        if (!box || i < 0 || box.clientHeight === 0)
            return;
        const [top, below] = [tops[i], tops[i] + items[i].height - box.clientHeight];
        if (below > box.scrollTop)
            box.scrollTop = Math.min(top, below);
    }, [expanded, expandedHeight]);
    const act = React.useMemo(() => ({
        toggle: (id) => setExpanded((old) => {
            const rowOf = (key) => {
                const known = pad.store.byId.get(key);
                return known && marketKey(known.alert);
            };
            return old !== null && rowOf(old) === rowOf(id) ? null : id;
        }),
        open: setExpanded,
        focus: setFocused,
        chart: (alert) => latest.current.host.openChart(alert),
        copy: (alert) => {
            copied(alertText(alert, pad.server), "Copied.");
        },
        mute: (symbol) => {
            const { settings: current, change: set } = latest.current;
            set({ muted: { ...unexpired(current.muted), [symbol]: Date.now() + MUTE_MS } });
            api.toast.info(`${symbol} is muted for 1 h in this browser.`);
        },
        review: (alert, reviewed) => latest.current.review(alert, reviewed),
        fold: (incident) => setFolded((old) => toggled(old, incident)),
        unfold: (incident) => setUnfolded((old) => toggled(old, incident)),
    }), [pad]);
    const marketAct = React.useMemo(() => ({
        show: (label, symbols) => (latest.current.change({
            ...NO_FILTERS,
            group: latest.current.settings.group?.label === label ? null : { label, symbols },
        }),
            setTab("alerts"),
            listRef.current?.scrollTo(0, 0)),
        muteRest: (symbols) => latest.current.change({ restMuted: { until: Date.now() + MUTE_MS, symbols } }),
        mute: (symbols) => latest.current.change({
            muted: {
                ...unexpired(latest.current.settings.muted),
                ...Object.fromEntries(symbols.map((symbol) => [symbol, Date.now() + MUTE_MS])),
            },
        }),
        filterSymbol: (symbol) => (latest.current.change({ ...NO_FILTERS, search: symbol }), setTab("alerts")),
    }), []);
    React.useEffect(() => {
        let spokenAt = 0;
        const announce = (alert) => {
            const { settings: current, accepts: wanted, paused: silent } = latest.current;
            if (silent || !wanted(alert))
                return;
            if (reaches(alert.severity, "HIGH") && Date.now() - spokenAt > ANNOUNCE_EVERY_MS) {
                spokenAt = Date.now();
                setAnnouncement(`${words(alert.severity)}: ${alertSentence(alert)}`);
            }
            try {
                if (reaches(alert.severity, current.sound) && mayAnnounce("sound"))
                    void beep(alert.severity).catch(() => undefined);
                if (reaches(alert.severity, current.notify) && mayAnnounce("notify"))
                    notify(alert, () => (setTab("alerts"), setExpanded(alert.id)));
            }
            catch {
            }
        };
        pad.onNews.add(announce);
        return () => void pad.onNews.delete(announce);
    }, [pad]);
    const move = (step) => {
        const keys = list.items.filter((item) => item.kind === "alert").map((item) => item.key);
        const at = focused === null ? -1 : keys.indexOf(focused);
        const key = keys[Math.min(keys.length - 1, Math.max(0, at + step))];
        if (key === undefined)
            return;
        const i = list.items.findIndex((item) => item.key === key);
        const [top, height] = [list.tops[i], list.items[i].height];
        const box = listRef.current;
        if (box && top < box.scrollTop)
            box.scrollTop = top;
        else if (box && top + height > box.scrollTop + box.clientHeight)
            box.scrollTop = top + height - box.clientHeight;
        setFocused(key);
        requestAnimationFrame(() => requestAnimationFrame(() => box?.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true })));
    };
    const onKeyDown = (event) => {
        if (event.ctrlKey || event.metaKey || event.altKey)
            return;
        const target = event.target;
        if (target.matches("input,select,textarea")) {
            if (event.key === "Escape")
                rootRef.current?.focus({ preventScroll: true });
            return;
        }
        if (menu !== null && event.key !== "Escape")
            return;
        const alert = focused === null ? null : (store.byId.get(focused)?.alert ?? null);
        const severity = SEVERITIES[Number(event.key) - 1];
        const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
        const run = {
            j: () => move(1),
            k: () => move(-1),
            ArrowDown: target.matches("article") ? () => move(1) : null,
            ArrowUp: target.matches("article") ? () => move(-1) : null,
            Enter: target.matches("article") && alert ? () => act.toggle(alert.id) : null,
            Escape: () => menu ? setMenu(null) : expanded !== null ? setExpanded(null) : rootRef.current?.focus({ preventScroll: true }),
            o: alert && (() => act.chart(alert)),
            c: alert && (() => act.copy(alert)),
            m: alert && (() => act.mute(alert.symbol)),
            a: alert && (() => act.review(alert)),
            "/": () => (searchRef.current ? searchRef.current.focus() : setMenu("filter")),
            l: () => change({
                layout: LAYOUTS[(LAYOUTS.findIndex(({ layout }) => layout === settings.layout) + 1) % LAYOUTS.length].layout,
            }),
            p: () => setPaused((old) => !old),
            g: release,
            "?": () => setMenu("keys"),
            ...(severity && { [event.key]: () => change({ hiddenSeverities: flip(settings.hiddenSeverities, severity) }) }),
        };
        const action = run[key];
        if (!action)
            return;
        event.preventDefault();
        action();
    };
    useKeysOfPage(onKeyDown);
    const chips = chipsOf(settings, now);
    const pill = list.waiting > 0 || paused ? (<button type="button" className={`pill${paused ? " paused" : ""}`} onClick={release} title={paused ? "Resume" : "Show new alerts (G)"}>
        <Icon name={paused ? "play" : "up"} size={12}/>
        {paused ? (`Paused ${list.waiting || ""}`) : (<>
            {list.waiting}
            <span className="only-n">new</span>
          </>)}
        {list.waitingCritical > 0 && (<em className={paused ? "only-n" : ""}>
            <Severity severity="CRITICAL" size={12}/>
            {list.waitingCritical}
          </em>)}
      </button>) : null;
    const sourceText = pad.feed
        ? `${titled(pad.feed.venue)} · ${span(pad.feed.interval)} · ${pad.feed.symbols} symbols`
        : "";
    const newestSync = glance.syncs[0]?.id ?? null;
    const chooseWindow = React.useCallback((window) => (setHeldFor(newestSync), change({ window: window })), [change, newestSync]);
    const summary = React.useMemo(() => <Summary market={market} glance={glance} act={marketAct} onWindow={chooseWindow}/>, [market, glance, marketAct, chooseWindow]);
    return (<section ref={rootRef} className={`aa${frozen ? " frozen" : ""}`} dir="ltr" data-theme={theme} aria-label="Anomalies" tabIndex={-1} onKeyDown={onKeyDown} onFocus={(event) => event.target === event.currentTarget && onReading({ focusedIn: false })}>
      <Header width={width} badge={badge} reason={[
            pad.feed?.reason,
            laggard && `No prices from ${laggard.venue} for ${longAge(laggard.ageMs)}. Shown: ${pad.feed?.venue}.`,
        ]
            .filter(Boolean)
            .join(" ")} source={sourceText} settings={settings} change={change} host={host} counts={counts} uncounted={uncounted} filters={names.length} paused={paused} onPause={() => (paused ? release() : setPaused(true))} menu={menu} onMenu={setMenu} searchRef={searchRef}/>
      <SourceLine feed={pad.feed} replay={pad.replay} width={width}/>
      {wide ? (summary) : market.known || status.error ? (<StressLine market={market} glance={glance} onOpen={() => setTab("market")}/>) : (<div className="strip">
          <Bones widths={[14, 48, 28]}/>
        </div>)}
      {!wide && (<div className="tabs">
          <div className="tabl" role="tablist" aria-label="Views">
            {["alerts", "market"].map((name) => (<button key={name} type="button" role="tab" aria-selected={tab === name} className={tab === name ? "on" : ""} onClick={() => setTab(name)}>
                {words(name)}
                {name === "alerts"
                    ? status.loaded && <span className="cnt num">{countText(open, uncounted)}</span>
                    : market.worst && <Severity severity={market.worst} size={10} mute={frozen}/>}
              </button>))}
          </div>
          {pill}
        </div>)}
      <Banner pad={pad} stale={stale} now={now} channels={settings.channels} change={change}/>
      {chips.length > 0 && <Chips chips={chips} hidden={list.hidden} change={change} onCopyLink={copyLink}/>}
      <div key={zone} className="body">
        {(wide || tab === "alerts") && (<div className="col-list" style={wide ? undefined : { flex: "1 1 0" }}>
            <ListHead list={list} loaded={status.loaded} counts={{
                alerts: open,
                symbols: openSymbols,
                more: uncounted,
                partial: pad.olderOf(listQuery).more,
            }} sort={settings.sort} onSort={(sort) => change({ sort })}>
              {wide && pill}
            </ListHead>
            {settings.layout === "table" && list.items.length > 0 && (<TableHead sort={settings.sort} onSort={(sort) => change({ sort })}/>)}
            {list.items.length > 0 ? (<AlertList list={list} listRef={listRef} layout={settings.layout} touch={touch} reviewMode={reviewMode} focused={focused} marketNow={marketNow} now={now} flash={flash} host={host} settings={settings} pad={pad} width={listWidth} act={act} onHeight={setExpandedHeight} onReading={onReading} foot={<OlderRow pad={pad} listQuery={listQuery} left={left}/>}/>) : (<EmptyState pad={pad} names={names} hidden={list.hidden} waiting={list.waiting} listQuery={listQuery} onReset={() => change(NO_FILTERS)} onUnmute={() => change({ muted: {}, restMuted: null })} onEdit={() => setMenu("filter")} onSettings={() => setMenu("settings")}/>)}
          </div>)}
        {(wide || tab === "market") && (<MarketColumn market={market} glance={glance} pad={pad} width={wide ? width - LIST_WIDTH : width} act={marketAct} shown={settings.group?.label ?? null} summary={wide ? null : summary}/>)}
      </div>
      <footer className="ft">
        <span className="ell grow num">
          {status.loaded ? (<>
              {countText(open, uncounted)} open
              {day !== null && <span className="only-n"> · {alertsText(day)} in 24 h</span>}
              <span className="only-n"> · {countText(store.entries.length)} loaded</span>
              {list.hidden > 0 && ` · ${countText(list.hidden)} hidden`}
              {store.skipped > 0 && ` · ${store.skipped} invalid messages skipped`}
            </>) : status.error ? (`${status.error} · attempt ${status.attempt}`) : ("Loading…")}
        </span>
        <span className="only-t keyhints">
          <kbd>J</kbd>
          <kbd>K</kbd> move <kbd>↵</kbd> expand <kbd>M</kbd> mute <kbd>P</kbd> pause{" "}
          <button type="button" className="lnk" aria-label="All keys" onClick={() => setMenu("keys")}>
            <kbd>?</kbd> keys
          </button>
        </span>
      </footer>
      <p className="vh" aria-live="polite">
        {announcement}
      </p>
      {menu === "filter" && (<FilterMenu settings={settings} change={change} host={host} counts={counts} more={uncounted} methods={methodsOf([...settings.methods, ...[...store.byId.values()].map(({ alert }) => alert.method)])} sectors={pad.sectors} shown={list.shown} onClose={() => setMenu(null)}/>)}
      {menu === "layout" && <LayoutMenu settings={settings} change={change} onClose={() => setMenu(null)}/>}
      {menu === "settings" && (<SettingsMenu settings={settings} change={change} host={host} zone={zone} now={now} onZone={setZone} onCopyLink={copyLink} onClose={() => setMenu(null)}/>)}
      {menu === "keys" && <KeysMenu everywhere={defaults().address !== undefined} onClose={() => setMenu(null)}/>}
    </section>);
}
const unexpired = (muted, now = Date.now()) => Object.fromEntries(Object.entries(muted).filter(([, until]) => until > now));
function AlertList({ list, listRef, layout, touch, reviewMode, focused, marketNow, now, flash, host, settings, pad, width, act, onHeight, onReading, foot, }) {
    const [view, setView] = React.useState({ top: 0, height: 900 });
    const hover = React.useRef();
    React.useLayoutEffect(() => {
        const box = listRef.current;
        if (!box)
            return;
        const measure = () => setView({ top: box.scrollTop, height: box.clientHeight });
        const observer = new ResizeObserver(measure);
        observer.observe(box);
        return () => {
            observer.disconnect();
            clearTimeout(hover.current);
            onReading({ scrolled: false, hovered: false, focusedIn: false });
        };
    }, [listRef, onReading]);
    const from = itemAt(list.tops, Math.max(0, view.top - OVERSCAN_PX));
    const to = Math.min(list.items.length, itemAt(list.tops, view.top + view.height + OVERSCAN_PX) + 1);
    const hasFocus = list.items.slice(from, to).some((item) => item.key === focused);
    const firstAlert = list.items.slice(from, to).find((item) => item.kind === "alert")?.key;
    const pinnedHeight = list.pinned.length * (touch ? TOUCH_HEIGHTS : HEIGHTS).compact;
    const pushed = React.useRef(0);
    React.useLayoutEffect(() => {
        const box = listRef.current;
        if (box)
            box.scrollTop += pinnedHeight - pushed.current;
        pushed.current = pinnedHeight;
    }, [listRef, pinnedHeight]);
    return (<>
      {list.pinned.length > 0 && (<div className="pinned" role="group" aria-label="New critical alerts">
          {list.pinned.map((entry) => (<CompactRow key={entry.alert.id} alert={entry.alert} count={1} named={list.venues} reviewMode={reviewMode} age={age(marketNow - entry.alert.timestamp)} nested={false} expanded={false} focused fresh={false} step={host.priceStep(entry.alert.symbol)} listed={host.marketOf(entry.alert.symbol) !== null} act={act}/>))}
        </div>)}
      <div ref={listRef} className="list" role="feed" aria-label={`Alerts by ${sortLabel(settings.sort)}`} onScroll={(event) => {
            const box = event.currentTarget;
            setView({ top: box.scrollTop, height: box.clientHeight });
            onReading({ scrolled: box.scrollTop > 4 + pushed.current });
        }} onMouseEnter={() => (hover.current = setTimeout(() => onReading({ hovered: true }), HOVER_READS_MS))} onMouseLeave={() => (clearTimeout(hover.current), onReading({ hovered: false }))} onFocus={() => onReading({ focusedIn: true })} onBlur={(event) => !event.currentTarget.contains(event.relatedTarget) && onReading({ focusedIn: false })}>
        <div style={{ height: list.height, position: "relative" }}>
          {list.items.slice(from, to).map((item, i) => (<div key={item.key} className={`slot${item.kind === "incident" ? ` inc r-${item.anomaly.severity}${isOpen(item.anomaly) ? "" : " closed"}` : item.kind === "more" || item.nested ? " in" : ""}`} style={{ transform: `translateY(${list.tops[from + i]}px)` }}>
              <ListItem item={item} named={list.venues} layout={layout} reviewMode={reviewMode} focused={item.key === focused || (!hasFocus && item.key === firstAlert)} marketNow={marketNow} now={now} flash={flash} host={host} settings={settings} pad={pad} width={width} act={act} onHeight={onHeight}/>
            </div>))}
        </div>
        {foot}
      </div>
    </>);
}
function OlderRow({ pad, listQuery, left }) {
    const { more, loading, error } = pad.olderOf(listQuery);
    if (!pad.status.loaded || !more)
        return <p className="older t3">No older alerts.</p>;
    if (pad.store.entries.length >= KEPT_ALERTS)
        return (<p className="older t3">
        The panel holds {countText(KEPT_ALERTS)} alerts. Older ones:{" "}
        <a className="lnk und tgt" href={`${pad.server}/alerts`}>
          history
        </a>
      </p>);
    return (<p className="older">
      <Button label={loading ? "Loading…" : "Load older"} disabled={loading} onClick={() => void pad.loadOlder(listQuery)}/>
      <span className="t3 num">
        {error ||
            (left === null ? "" : left ? `${countText(left)} of the last 24 h to load` : "The last 24 h are all here")}
      </span>
    </p>);
}
function ListItem({ item, named, layout, reviewMode, focused, marketNow, now, flash, host, settings, pad, width, act, onHeight, }) {
    if (item.kind === "incident") {
        const { anomaly } = item;
        const isMove = anomaly.type === "SYNCHRONIZED_MOVEMENT";
        const over = isMove && incidentState(anomaly, pad.stress?.windows ?? [], marketNow).over !== "";
        return <IncidentRow item={item} over={over} age={age(marketNow - anomaly.timestamp)} act={act}/>;
    }
    if (item.kind === "more") {
        return (<div role="article">
        <button type="button" className="morerow" onClick={() => act.unfold(item.incident)}>
          <span className="grow ell">{item.rest ? `Show ${plain(item.rest, 0)} more` : "Show fewer"}</span>
        </button>
      </div>);
    }
    const { alert } = item.entry;
    const props = {
        alert,
        count: item.count,
        named,
        reviewMode,
        age: age(marketNow - alert.timestamp),
        nested: item.nested,
        expanded: item.expanded,
        focused,
        fresh: flash && now - item.entry.arrived < FLASH_MS,
        step: host.priceStep(alert.symbol),
        listed: host.marketOf(alert.symbol) !== null,
        act,
    };
    return (<>
      {layout === "cards" && !item.nested ? (<CardRow {...props} width={width}/>) : layout === "table" && !item.nested ? (<TableRow {...props}/>) : (<CompactRow {...props}/>)}
      {item.expanded && (<Details alert={item.shown.alert} all={item.all} marketNow={marketNow} reviewMode={reviewMode} pad={pad} host={host} settings={settings} width={width} act={act} onHeight={onHeight}/>)}
    </>);
}
function Banner({ pad, stale, now, channels, change, }) {
    const { status, feed } = pad;
    const off = channels.length ? CHANNELS.filter((channel) => !channels.includes(channel)) : [];
    const wait = status.retryAt === null ? 0 : Math.max(0, Math.ceil((status.retryAt - now) / 1000));
    return (<>
      {!status.online && status.lostAt !== null && status.loaded ? (<div className="banner off" role="status">
          <Icon name="plug"/>
          <span>
            Connection lost {clock(status.lostAt, true, { today: now })}
            {status.refused && `: ${status.error}. Enter a token in the settings`}.{" "}
            {wait > 0 ? `Retrying in ${wait} s.` : "Reconnecting…"}{" "}
            <span className="only-m t2">Missed alerts load after reconnecting.</span>
          </span>
          <span className="x">
            <Button label="Retry now" onClick={() => pad.retryNow()}/>
          </span>
        </div>) : (stale &&
            feed && (<div className="banner" role="status">
            <Icon name="clock"/>
            <span>
              No prices from {titled(feed.venue)} for {longAge(pad.feedAgeMs(now) ?? 0)}. No new alerts until prices
              resume.
            </span>
          </div>))}
      {off.map((channel) => (<div key={channel} className="banner off" role="status">
          <Icon name="mute"/>
          <span>
            {channel === "alerts"
                ? "Alerts are off: no new ones arrive."
                : "Market anomalies are off: no new ones arrive."}
          </span>
          <span className="x">
            <Button label="Switch on" onClick={() => change({ channels: [] })}/>
          </span>
        </div>))}
    </>);
}
function EmptyState({ pad, names, hidden, waiting, listQuery, onReset, onUnmute, onEdit, onSettings, }) {
    const { status, feed, store } = pad;
    if (!status.loaded && !status.error) {
        return (<div className="list skel" aria-busy="true" aria-label="Loading">
        {Array.from({ length: 40 }, (_, i) => (<div key={i} className="row">
            <span className="sk" style={{ width: 12 }}/>
            <span className="sk" style={{ width: 48 + ((i * 37) % 40) }}/>
            <span className="sp sk" style={{ width: 44 }}/>
            <span className="sk"/>
            <span className="vm sk"/>
            <span className="ra sk"/>
            <span className="sk"/>
          </div>))}
      </div>);
    }
    if (!status.loaded) {
        return (<div className="state">
        <span className="ic">
          <Icon name="warning" size={18}/>
        </span>
        <h2>
          {status.refused
                ? "The alert server lets only some read"
                : status.answered
                    ? "The alert server answered with an error"
                    : "Cannot reach the alert server"}
        </h2>
        <p>
          {pad.server}: {status.error}.{" "}
          {status.refused ? ("Enter a token in the settings. The operator of the server makes one.") : status.answered ? ("The panel tries again.") : (<>
              Start the server with <b>manage.py up</b>, or change the address.
            </>)}
        </p>
        <div className="acts">
          <Button label="Retry" primary onClick={() => pad.retryNow()}/>
          <Button label={status.refused ? "Enter a token" : "Change address"} onClick={onSettings}/>
          <Button label="Copy details" onClick={() => copied(`${pad.server}: ${status.error}, attempt ${status.attempt}, ${new Date().toISOString()}`, "Copied.")}/>
        </div>
      </div>);
    }
    if (names.length > 0 || (hidden > 0 && waiting === 0)) {
        const { more, loading } = pad.olderOf(listQuery);
        return (<div className="state">
        <span className="ic">
          <Icon name="filter" size={18}/>
        </span>
        <h2>No alert matches the filters</h2>
        <p>
          {hidden > 0
                ? `${countText(hidden)} loaded ${hidden === 1 ? "alert is" : "alerts are"} hidden by: ${names.join(" · ") || "muted symbols"}.`
                : `Filters: ${names.join(" · ")}.`}
        </p>
        <div className="acts">
          {names.length > 0 ? (<>
              <Button label="Reset filters" primary onClick={onReset}/>
              <Button label="Edit filters" onClick={onEdit}/>
            </>) : (<Button label="Unmute all" primary onClick={onUnmute}/>)}
          {more && (<Button label={loading ? "Loading…" : "Search older alerts"} disabled={loading} onClick={() => void pad.loadOlder(listQuery)}/>)}
        </div>
      </div>);
    }
    const watching = !feed
        ? "Waiting for the first prices."
        : feed.state === "warming"
            ? `The detectors are warming up: ${feed.symbols} symbols on ${titled(feed.venue)}.`
            : `Watching ${feed.symbols} symbols on ${titled(feed.venue)}.`;
    return (<div className="state">
      <span className="ic">
        <Icon name="check" size={18}/>
      </span>
      <h2>No alerts</h2>
      <p>
        {watching} {store.newest > 0 && `The last anomaly was ${longAge(pad.marketNow() - store.newest)} ago.`}
      </p>
    </div>);
}
const STYLE = `
.aa{
  --bg0:#0a0d12;--bg1:#10141b;--bg2:#161b24;--hover:#1b212c;--sel:#1d2634;
  --line:#232a36;--line2:#323b4a;--ctl:#677487;--t1:#e7ebf1;--t2:#adb7c5;--t3:#8a96a7;
  --up:#4fd6a5;--down:#ff5f6b;--low:#93a0b3;--med:#f3df7f;--high:#f28a33;--crit:#d68cff;--hight:#f28a33;--onhigh:#0a0d12;
  --accent:#63b3ff;--onfill:#0a0d12;--band:rgba(99,179,255,.18);--bandline:rgba(99,179,255,.42);--shade:rgba(138,150,167,.14);--shadow:0 8px 24px rgba(0,0,0,.5);
  container:aa/inline-size;color-scheme:dark;background:var(--bg0);color:var(--t1);
  font:400 12px/16px "Inter Variable",Inter,system-ui,-apple-system,"Segoe UI",sans-serif;font-variant-numeric:tabular-nums lining-nums;
  display:flex;flex-direction:column;width:100%;height:100%;min-height:0;overflow:hidden;position:relative;outline:0;text-align:left;-webkit-font-smoothing:antialiased
}
.aa[data-theme="light"]{
  --bg0:#eef1f5;--bg1:#fff;--bg2:#f6f8fa;--hover:#f0f3f7;--sel:#e6f0fc;--line:#dde3ea;--line2:#c3ccd7;--ctl:#7a8797;
  --t1:#131a24;--t2:#3f4b5b;--t3:#566272;--up:#0b7556;--down:#b5102e;--low:#566272;--med:#6b5700;--high:#d65f00;--crit:#8b22cc;
  --hight:#9c3d00;--onhigh:#131a24;--accent:#0a5fbf;--onfill:#fff;--band:rgba(10,95,191,.10);--bandline:rgba(10,95,191,.38);--shade:rgba(86,98,114,.11);
  --shadow:0 8px 24px rgba(20,30,45,.18);color-scheme:light
}
@media (forced-colors:active){.aa.aa{
  --bg0:Canvas;--bg1:Canvas;--bg2:Canvas;--hover:Canvas;--sel:Canvas;--line:CanvasText;--line2:CanvasText;--ctl:CanvasText;--t1:CanvasText;--t2:CanvasText;--t3:CanvasText;
  --up:CanvasText;--down:CanvasText;--low:CanvasText;--med:CanvasText;--high:CanvasText;--hight:CanvasText;--crit:CanvasText;--accent:Highlight;--onfill:Canvas;--onhigh:Canvas;--band:transparent;--bandline:Highlight
}}
.aa{
  *,*::before,*::after{box-sizing:border-box}
  svg{display:block;flex:none}
  button{font:inherit;color:inherit;background:none;border:0;padding:0;margin:0;cursor:pointer;text-align:inherit;letter-spacing:inherit}
  p,h2,dl,dd{margin:0}
  input,select,textarea{font:inherit;color:var(--t1);background:var(--bg1);border:1px solid var(--ctl);border-radius:4px;height:26px;padding:0 8px;min-width:0}
  :focus-visible{outline:2px solid var(--accent);outline-offset:1px}
  article:focus-visible,.strip:focus-visible,.morerow:focus-visible,.tabs button:focus-visible{outline-offset:-2px}
  .vh{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
  .num,.nw{white-space:nowrap}
  .up{color:var(--up)} .down{color:var(--down)} .t1{color:var(--t1)} .t2{color:var(--t2)} .t3{color:var(--t3)} .blk{display:block}
  .s-LOW{color:var(--low)} .s-MEDIUM{color:var(--med)} .s-HIGH{color:var(--high)} .s-CRITICAL{color:var(--crit)} b.s-HIGH{color:var(--hight)}
  .ell{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;min-width:0} .grow{flex:1 1 0;min-width:0}
  .lbl{font-size:11px;line-height:14px;color:var(--t3);font-weight:500}
  .lnk{display:inline-flex;align-items:baseline;gap:1px;min-width:0} .sym .lnk{min-width:max(24px,min-content);height:24px;line-height:24px;flex-wrap:wrap;overflow:hidden} .sym .lnk.nv{display:grid;line-height:12px;align-content:center;flex:0 1 auto} .sym .nv small{font-size:10px;line-height:11px;color:var(--t2);text-align:left} .trow .lnk.nv{line-height:11px} .trow .nv small{line-height:10px} .c-hd .lnk.nv{display:inline-flex;align-items:baseline;gap:5px;line-height:24px} .lnk:hover b{text-decoration:underline} .und{text-decoration:underline;color:var(--t2)}
  .ax{fill:var(--t3);font-size:11px} .ax.on{fill:var(--t2)} .ax.usual{fill:var(--accent)} .ax.boxed{fill:var(--onfill);font-weight:600}

  .hd{display:flex;align-items:center;gap:6px;height:40px;padding:0 10px;background:var(--bg2);border-bottom:1px solid var(--line);flex:none;min-width:0}
  .hd .sep{margin:0 4px} .hd .title{font-weight:600;font-size:13px;margin-right:4px} .badgebox{flex:0 1 auto;min-width:0;overflow:hidden}
  .source{padding:3px 10px;font-size:11px;line-height:16px;background:var(--bg2);border-bottom:1px solid var(--line);color:var(--t2);flex:none;position:relative;overflow:hidden;text-overflow:ellipsis} .source.sim{color:var(--t1);background:repeating-linear-gradient(135deg,color-mix(in srgb,var(--med) 8%,var(--bg2)) 0 4px,var(--bg2) 4px 8px)} .source>i{position:absolute;left:0;bottom:0;height:2px;background:var(--accent)}
  .chipbar{display:flex;flex-wrap:wrap;align-items:center;gap:4px 6px;padding:3px 10px;background:var(--bg1);border-bottom:1px solid var(--line);flex:none;max-height:96px;overflow:auto}
  .fchip{display:inline-flex;align-items:center;gap:6px;height:24px;padding:0 8px;border-radius:12px;border:1px solid var(--accent);background:var(--sel);max-width:100%;min-width:0} .fchip:hover{background:var(--hover)} .fchip.mute{border-color:var(--ctl);background:var(--bg2);color:var(--t2)}
  .dots svg{stroke-width:2.6} .tgt{min-height:24px;align-items:center;padding:0 2px} .older{display:flex;align-items:center;justify-content:center;flex-wrap:wrap;gap:4px 10px;padding:8px 10px;min-height:42px}
  .badge{display:inline-flex;align-items:center;gap:5px;height:22px;padding:0 8px;border-radius:11px;border:1px solid var(--ctl);font-weight:600;font-size:11px;letter-spacing:.04em;white-space:nowrap;flex:none}
  .badge .vn{font-weight:500;letter-spacing:0} .badge .age{font-weight:500;letter-spacing:0;color:var(--t2)}
  .badge.LIVE{color:var(--accent);border-color:color-mix(in srgb,var(--accent) 45%,transparent);background:color-mix(in srgb,var(--accent) 10%,transparent)}
  .badge.REPLAY{color:var(--accent);border:1px dashed var(--accent)}
  .badge.SIMULATED{color:var(--med);border-color:var(--med);background:repeating-linear-gradient(135deg,color-mix(in srgb,var(--med) 16%,transparent) 0 4px,transparent 4px 8px)}
  .badge.STALE{color:var(--onhigh);background:var(--high);border-color:var(--high)} .badge.STALE .age{color:var(--onhigh)}
  .dotlive{width:6px;height:6px;border-radius:3px;background:currentColor}
  .sep{width:1px;height:18px;background:var(--line2);flex:none} .sep.tall{height:34px}
  .ib{display:inline-flex;align-items:center;justify-content:center;width:28px;height:28px;border-radius:4px;color:var(--t2);flex:none;position:relative} .ib.sm{width:24px;height:24px}
  .ib:hover,.ib.on{background:var(--hover);color:var(--t1)} &[data-theme="light"] .ib:is(:hover,.on){background:var(--sel)}
  .ib .cnt{position:absolute;top:1px;right:0;min-width:14px;height:14px;border-radius:7px;background:var(--accent);color:var(--onfill);font-size:10px;line-height:14px;font-weight:700;padding:0 3px;text-align:center}
  .ctl{display:inline-flex;align-items:center;gap:5px;height:26px;padding:0 8px;border:1px solid var(--line2);border-radius:4px;color:var(--t2);white-space:nowrap;flex:none;background:var(--bg1);text-decoration:none}
  .ctl:hover{color:var(--t1);border-color:var(--ctl)} .ctl.on{border-color:var(--accent);color:var(--t1);background:var(--sel)} .ctl:disabled{color:var(--t3);border-style:dashed;cursor:not-allowed}
  .search{display:flex;align-items:center;position:relative;flex:0 1 188px;min-width:0;color:var(--t3)}
  .search>svg{position:absolute;left:8px} .search input{width:100%;padding:0 26px} .search input::placeholder{color:var(--t3)} .search kbd{position:absolute;right:7px} .search input::-webkit-search-cancel-button{filter:grayscale(1)}
  kbd{font:500 10px/14px inherit;font-family:inherit;border:1px solid var(--line2);border-radius:3px;padding:0 4px;color:var(--t2);background:var(--bg2)}
  .sevt{display:inline-flex;border:1px solid var(--line2);border-radius:4px;height:26px;overflow:hidden;flex:none;background:var(--bg1)}
  .sevt button{display:inline-flex;align-items:center;justify-content:center;gap:4px;padding:0 7px;min-width:34px;border-right:1px solid var(--line2);font-size:11px}
  .sevt button:last-child{border:0} .sevt button:hover{background:var(--hover)} .sevt button.off{color:var(--t3);background:var(--bg0)} .sevt .off .num{text-decoration:line-through} .sevt button:focus-visible{outline-offset:-2px}

  .tabs{display:flex;height:32px;background:var(--bg1);border-bottom:1px solid var(--line);flex:none}
  .tabl{display:flex} .tabl>[role=tab]{display:inline-flex;align-items:center;gap:6px;padding:0 12px;color:var(--t2);border-bottom:2px solid transparent;font-weight:500;white-space:nowrap}
  .tabl>.on{color:var(--t1);border-color:var(--accent)} .tabs .cnt{font-size:11px;color:var(--t3)}
  .strip{display:flex;width:100%;align-items:center;gap:8px;height:36px;padding:4px 10px;background:var(--bg1);border-bottom:1px solid var(--line);flex:none;min-width:0;white-space:nowrap;overflow:hidden} button.strip:hover{background:var(--hover)} .strip>svg:last-child{color:var(--t3)}
  .strip .idx{font-size:16px;font-weight:650;line-height:20px} .strip .chg{vertical-align:bottom}
  .past{--up:var(--t3);--down:var(--t3)} .past :is(.comp.lead .bar,.stack)>i:first-child{background:var(--t3)}
  .summary{display:flex;align-items:center;gap:14px;padding:8px 12px;min-height:66px;background:var(--bg1);border-bottom:1px solid var(--line);flex:none;min-width:0}
  .sumtx{flex:1 1 0;min-width:0;display:grid;gap:4px} .sumsay{display:flex;flex-wrap:wrap;align-items:center;gap:6px 14px}
  .summary .say{font-size:13px;line-height:18px;min-width:0;flex:1 1 380px;color:var(--t2)} .summary .say b{color:var(--t1);font-weight:600}
  @container aa (min-width:900px){.summary .say{height:36px;display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2;overflow:hidden}}
  .nowline{display:flex;flex-wrap:wrap;align-items:center;gap:4px 14px;white-space:nowrap} .asof b{font-weight:600} .majors{display:inline-flex;gap:8px}
  .wins{display:inline-flex;border:1px solid var(--line2);border-radius:4px;overflow:hidden} .wins button{display:inline-flex;align-items:center;gap:6px;height:24px;padding:0 8px;border-right:1px solid var(--line2)} .wins button:last-child{border:0} .wins button:hover{background:var(--hover)}
  .wins .on{background:var(--sel);box-shadow:inset 0 -2px var(--accent)} .wins .on>.t2{color:var(--t1);font-weight:600} .wins button:focus-visible{outline-offset:-2px}
  .sumidx{display:flex;align-items:center;gap:10px;white-space:nowrap} .sumidx>b{font-size:22px;line-height:28px;font-weight:650}
  .btn{display:inline-flex;align-items:center;gap:6px;height:26px;padding:0 10px;border-radius:4px;border:1px solid var(--ctl);color:var(--t1);font-weight:500;white-space:nowrap;background:var(--bg1)}
  .btn{text-decoration:none} .btn:hover{background:var(--hover)} .btn.pri{background:var(--accent);border-color:var(--accent);color:var(--onfill);font-weight:600} .btn:disabled{color:var(--t3);border-color:var(--line2);cursor:default}
  .acts{display:flex;gap:6px;flex-wrap:wrap;align-items:center} .orders{border-top:1px solid var(--line2);padding-top:8px}

  .body{display:flex;flex:1 1 0;min-height:0;min-width:0}
  .col-list{display:flex;flex-direction:column;flex:0 0 628px;min-width:0;border-right:1px solid var(--line);background:var(--bg1);position:relative}
  .col-mkt{flex:1 1 0;min-width:0;overflow:hidden auto;padding:8px;display:grid;gap:8px;align-content:start;grid-template-columns:minmax(0,1fr);outline:0}
  .col-mkt,.list{scrollbar-width:thin;scrollbar-color:var(--line2) transparent}
  .sortby{height:24px;padding:0 2px 0 4px;border-color:var(--line2);flex:0 1 auto;max-width:96px} .pinned{flex:none;border-bottom:2px solid var(--crit)} .lh-n{flex:0 1 auto}
  .listhd{display:flex;align-items:center;gap:6px;height:32px;padding:0 4px 0 10px;border-bottom:1px solid var(--line);flex:none;color:var(--t2);min-width:0}
  .list{flex:1 1 0;min-height:0;overflow:hidden auto;position:relative;background:var(--bg1);overflow-anchor:none;contain:strict} .list.skel{overflow:hidden}
  .slot{position:absolute;left:0;right:0;top:0;contain:layout style}
  .ft{display:flex;align-items:center;gap:12px;height:24px;padding:0 10px;background:var(--bg2);border-top:1px solid var(--line);color:var(--t3);font-size:11px;flex:none;white-space:nowrap;overflow:hidden} .keyhints kbd{margin:0 1px 0 6px} .ft .lnk{min-height:24px;align-items:center}

  .row{display:grid;grid-template-columns:20px minmax(84px,1fr) 52px 118px 98px 100px 34px 14px;column-gap:8px;align-items:center;height:28px;padding:0 8px 0 9px;border-bottom:1px solid var(--line);position:relative;background:var(--bg1);cursor:pointer}
  :is(.row,.card,.trow,.exp)::before{content:"";position:absolute;left:0;top:0;bottom:0;width:0}
  .r-MEDIUM::before{width:2px!important;background:var(--med)} .r-HIGH::before{width:3px!important;background:var(--high)} .r-CRITICAL::before{width:4px!important;background:var(--crit)}
  :is(.row,.card,.trow).r-CRITICAL{background:color-mix(in srgb,var(--crit) 10%,var(--bg1))}
  :is(.row,.card,.trow):not(.th):hover{background:var(--hover)} :is(.row,.card,.trow).sel{background:var(--sel)!important}
  :is(.row,.card,.trow).closed{background:var(--bg1)} .closed::before{width:0!important}
  .closed,.closed :is(.chg,.sym b,.ra,.me,.big,.num,.say,.inc-tx b,.inc-tx .t2){color:var(--t3);font-weight:400}
  .qa{position:absolute;right:0;top:0;height:calc(100% - 1px);max-height:43px;width:150px;padding-right:4px;display:flex;align-items:center;justify-content:flex-end;background:inherit} .qa .ib{width:28px;height:24px} .card .qa{top:4px;height:27px} :has(>.qa) :is(.ra,.tag.only-m){visibility:hidden} .trow .qa .ib{width:26px}
  .sym{display:flex;align-items:center;min-width:0;overflow:hidden;white-space:nowrap} .sym b{font-weight:600;flex:none} .sym .tag{flex:0 1 auto;min-width:0;overflow:hidden} .sym i{font-style:normal;color:var(--t3);font-size:11px}
  .sym .tag{margin-left:5px}
  .tag{display:inline-flex;align-items:center;gap:3px;height:16px;padding:0 5px;border-radius:3px;font-size:11px;color:var(--t2);background:var(--bg2);border:1px solid var(--line2);white-space:nowrap;flex:none}
  .ra.of{white-space:normal;overflow:hidden;line-height:12px;max-height:24px}
  .ag,.vm{text-align:right} .ra,.me,.vm{color:var(--t2);font-size:11px} .ag,.cv{color:var(--t3)}
  .chg{display:inline-flex;align-items:center;justify-content:flex-end;gap:4px;font-weight:600;white-space:nowrap} .chg.big{font-size:16px;line-height:20px;font-weight:650;justify-content:flex-start} .win{font-weight:400;color:var(--t2);font-size:11px;white-space:pre;margin-left:-4px} .closed .win{color:var(--t3)}
  .frozen & .ag,&.frozen .ag{color:var(--hight)}
  &.frozen :is(.sevt .num,.tabs .cnt,.listhd>.num){color:var(--t3)} &.frozen .sevt svg{color:var(--t3)}

  .inc .inc-hd{display:flex;align-items:center;gap:8px;height:40px;padding:4px 4px 4px 9px;min-width:0;background:var(--bg2);border-bottom:1px solid var(--line)} .inc-hd::before{content:"";position:absolute;left:0;top:0;bottom:0}
  .incic{color:var(--t2)} .inc-tx{min-width:0;flex:1 1 0}
  .in .row{padding-left:24px} .in .row:not(.sel)::before,.in .morerow::before{content:"";left:14px;width:1px!important;background:var(--line2);position:absolute;top:0;bottom:0}
  .morerow{display:flex;width:100%;height:26px;padding:0 10px 0 26px!important;align-items:center;gap:6px;color:var(--t2);background:var(--bg1);border-bottom:1px solid var(--line)!important;position:relative} .morerow:hover{color:var(--t1);background:var(--hover)}
  .in .morerow::before{bottom:auto;height:13px;width:8px!important;background:none;border-left:1px solid var(--line2);border-bottom:1px solid var(--line2)}

  .exp{padding:8px 12px 10px 14px;background:var(--sel);border-bottom:1px solid var(--line);position:relative;display:grid;grid-template-columns:minmax(0,1fr);gap:8px}
  .exp .say{font-size:13px;line-height:19px;max-width:66ch}
  .chart{background:var(--bg1);border:1px solid var(--line);border-radius:4px;padding:4px;min-height:160px}
  .facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,170px),1fr));gap:6px 12px} .facts b{font-weight:600} .facts small{display:block;font-size:11px;line-height:14px;color:var(--t3)} .facts .chg{justify-content:flex-start}
  .same{display:grid;background:var(--bg1);border:1px solid var(--line);border-radius:4px} .sm-row{display:flex;align-items:center;gap:8px;min-height:26px;padding:0 8px!important;min-width:0} .sm-row:hover{background:var(--hover)} .sm-row[aria-pressed=true]{background:var(--sel);box-shadow:inset 2px 0 var(--accent)} .same>.t3{padding:4px 8px} .sm-row .chg{min-width:112px;justify-content:flex-start}
  .note{display:flex;gap:6px;flex:1 1 100%;align-items:flex-end;flex-wrap:wrap} .note textarea{flex:1 1 180px;height:auto;min-height:44px;padding:4px 8px;resize:vertical} .wrap{overflow-wrap:anywhere}
  .tl{display:flex;flex-wrap:wrap;gap:2px 10px;color:var(--t2);font-size:11px;align-items:center} .tl>span{display:inline-flex;align-items:center;gap:4px}
  .pill{flex:none;margin:auto 6px auto auto;height:24px;padding:0 10px!important;border-radius:12px;background:var(--accent);color:var(--onfill);font-weight:600;display:inline-flex;align-items:center;gap:6px;white-space:nowrap}
  .pill em{font-style:normal;display:inline-flex;align-items:center;gap:3px;border-left:1px solid color-mix(in srgb,var(--onfill) 35%,transparent);padding-left:6px} .pill em svg{color:var(--onfill);--bg1:var(--accent)}
  .pill.paused{background:var(--bg1);color:var(--t1);border:1px solid var(--ctl)} .pill.paused em svg{color:var(--crit);--bg1:#10141b}

  .card{display:grid;grid-template-columns:132px minmax(0,1fr);grid-template-rows:18px 52px 16px;gap:2px 10px;height:106px;padding:8px 10px 8px 12px;border-bottom:1px solid var(--line);position:relative;background:var(--bg1);cursor:pointer}
  .c-hd{grid-column:1/-1;display:flex;align-items:center;gap:6px;min-width:0} .c-hd .sym{font-size:13px} .c-nums{display:flex;flex-direction:column;min-width:0} .c-nums .vm{text-align:left} .spk{min-width:0;overflow:hidden} .spk svg{width:100%}
  .card .say{grid-column:1/-1;color:var(--t2)}

  .trow{display:grid;grid-template-columns:16px minmax(70px,1fr) 118px 64px 76px 96px 54px 34px;column-gap:8px;align-items:center;height:24px;padding:0 10px 0 8px;border-bottom:1px solid var(--line);position:relative;background:var(--bg1);cursor:pointer;text-align:right} .trow>.chg,.trow>.num{justify-self:end} .trow :is(.me,.ra){text-align:left} .c-vm{color:var(--t2)}
  .trow.th{height:26px;flex:none;background:var(--bg2);color:var(--t3);font-size:11px;font-weight:500;border-bottom-color:var(--line2);cursor:default} .th>button{text-align:right;height:24px;white-space:nowrap} .th>.l{text-align:left} .th .sorted,.th button:hover{color:var(--t1)}

  .mc{background:var(--bg1);border:1px solid var(--line);border-radius:6px;padding:8px 10px 10px;min-width:0}
  .mc>h2{margin:0 0 6px;font:600 12px/16px inherit;font-family:inherit;font-size:12px;display:flex;align-items:center;gap:6px} .mc>h2 .r{margin-left:auto;font-weight:400;color:var(--t3);font-size:11px}
  .mc .acts{margin-top:8px}
  .mg2{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,270px),1fr));gap:8px} .mg2>:last-child:nth-child(odd){grid-column:1/-1}
  .gauge{display:flex;gap:14px;align-items:center;justify-content:space-around} .gauge .hist{flex:1 1 0;min-width:0}
  .gaugebig{font-size:32px;font-weight:650;fill:var(--t1)} .gaugezone{font-size:12px;font-weight:600;fill:var(--t3)} .z-MEDIUM{fill:var(--med)} .z-HIGH{fill:var(--hight)} .z-CRITICAL{fill:var(--crit)}
  .ringbig{font-size:17px;font-weight:650;fill:var(--t1)} .ringsmall{font-size:11px;font-weight:600;fill:var(--t1)}
  .comp{min-width:0;display:grid;grid-template-columns:78px minmax(0,1fr) 34px 32px;gap:0 8px;align-items:center;height:21px} .comp .bar{height:8px;background:var(--line);border-radius:2px;position:relative} .comp .bar i{position:absolute;inset:0 auto 0 0;border-radius:2px;background:var(--t3)}
  .comp.lead .bar i{background:var(--accent)} .comp .nm{color:var(--t2)} .comp.lead .nm{color:var(--t1);font-weight:600} .comp .bar u{position:absolute;left:50%;top:-2px;bottom:-2px;width:1px;background:var(--ctl)} .comp .num{text-align:right} .comp b{font-weight:600}
  .stack{display:flex;height:12px;gap:1px;margin:2px 0 4px} .stack i{display:block;height:100%;background:var(--t3)} .stack i:first-child{border-radius:2px 0 0 2px;background:var(--accent)} .stack .rest{background:var(--line);flex:1}
  .breadth{display:flex;height:20px;gap:2px;border-radius:3px;overflow:hidden} .breadth>span{display:flex;flex:1 1 0;align-items:center;overflow:hidden;min-width:3px} .breadth b{padding:0 6px;font-weight:600;font-size:11px;white-space:nowrap;color:var(--onfill)} .breadth .d{background:var(--down)} .breadth .u{background:var(--up);justify-content:flex-end} .breadth .f{background:var(--line2)}
  .bl{display:flex;justify-content:space-between;gap:8px;margin-top:4px;font-size:11px;color:var(--t3)}
  .sync{display:grid;grid-template-columns:84px minmax(0,1fr);gap:4px 12px;align-items:center;margin-bottom:8px}
  .since{margin-bottom:8px} .apart{list-style:none;margin:0 0 8px;padding:0;display:grid;gap:4px} .apart li{display:flex;gap:6px;line-height:16px} .apart svg{margin-top:2px}
  .chips{display:flex;flex-wrap:wrap;gap:4px} .chips.all{max-height:132px;overflow:auto} .chip{min-height:24px;padding:0 6px!important;border-radius:3px;border:1px solid var(--line2)!important;background:var(--bg2);font-size:11px;line-height:22px;white-space:nowrap} .chip:hover{border-color:var(--accent)!important}
  .mrow{display:grid;grid-template-columns:12px minmax(0,1fr) auto;gap:8px;align-items:center;min-height:24px;padding:3px 0;border-top:1px solid var(--line)} h2+.mrow{border-top:0}
  .f-LOW{border-color:var(--low)} .f-MEDIUM{border-color:var(--med)} .f-HIGH{border-color:var(--high)} .f-CRITICAL{border-color:var(--crit)}
  .heat{display:grid;grid-template-columns:repeat(auto-fill,minmax(112px,1fr));gap:3px}
  .tile{min-height:62px;border-radius:3px;padding:5px 7px!important;min-width:0;border:1px solid transparent!important;display:flex;flex-direction:column;justify-content:center} .tile.flag{border-color:currentColor!important} .tile.f-LOW{border-color:var(--low)!important} .tile.f-MEDIUM{border-color:var(--med)!important} .tile.f-HIGH{border-color:var(--high)!important} .tile.f-CRITICAL{border-color:var(--crit)!important} .tile:hover{outline:1px solid var(--accent)} .tile.on{outline:2px solid var(--accent);outline-offset:-2px} .tile:disabled{cursor:default}
  .tile .n{font-size:11px;line-height:14px;display:flex;gap:4px;align-items:center} .tile .p{font-weight:600;font-size:13px;line-height:18px} .tile .d{display:flex;justify-content:space-between;gap:4px;font-size:11px;line-height:14px}
  .legend{display:flex;align-items:center;gap:2px 6px;font-size:11px;color:var(--t3);margin-top:6px;flex-wrap:wrap} .legend .r{margin-right:6px} .ramp{display:flex;height:8px;width:96px;border-radius:2px;overflow:hidden} .ramp i{flex:1}

  .scrim{position:absolute;inset:0;z-index:5}
  .menu{position:absolute;z-index:6;top:42px;right:8px;width:min(360px,calc(100% - 16px));max-height:calc(100% - 60px);overflow:auto;background:var(--bg2);border:1px solid var(--line2);border-radius:6px;box-shadow:var(--shadow);padding:8px 10px 10px;display:grid;gap:10px}
  .menuhd{display:flex;justify-content:space-between;align-items:center;margin-bottom:-4px} .menuhd b{font-weight:600}
  .mi{display:flex;gap:10px;align-items:center;padding:6px 8px!important;border-radius:4px;width:100%} .mi:hover,.mi.on{background:var(--sel)} .mi small{display:block;color:var(--t3);font-size:11px} .menu .mi{margin:-4px 0}
  .fld{display:grid;grid-template-columns:minmax(0,1fr);gap:5px} .cks{display:flex;flex-wrap:wrap;gap:4px} .inl{display:flex;gap:6px;align-items:center} .inl input{flex:1;min-width:0} .inl input[type=number]{flex:0 1 90px} .menu .search{flex:none} .menu .sevt{justify-self:start}
  .keys{display:grid;grid-template-columns:auto 1fr auto 1fr;gap:6px 10px} .keys dt{text-align:right}
  .state{flex:1;display:flex;flex-direction:column;align-items:center;justify-content:center;gap:8px;text-align:center;padding:16px;background:var(--bg1)} .state h2{font-weight:600;font-size:13px;line-height:18px} .state p{color:var(--t2);max-width:36ch;line-height:18px;overflow-wrap:anywhere} .state .acts{justify-content:center}
  .state .ic{width:40px;height:40px;border-radius:20px;display:grid;place-items:center;border:1px solid var(--line2);color:var(--t2)}
  .banner{display:flex;align-items:center;gap:8px;padding:4px 10px;min-height:34px;border-bottom:1px solid var(--line);flex:none;background:color-mix(in srgb,var(--high) 12%,var(--bg1));line-height:16px} .banner.off{background:var(--bg2)} .banner .x{margin-left:auto;flex:none}
  .sk{background:var(--line);border-radius:3px;display:block;height:10px;max-width:100%} .tile.sk{background:var(--bg2)} .bones{display:flex;flex-direction:column;justify-content:space-evenly}

  @container aa (max-width:899px){.only-l{display:none!important} .col-list{border-right:0} .summary{display:grid;grid-template-columns:minmax(0,1fr);min-height:auto;gap:8px;border:1px solid var(--line);border-radius:6px}}
  @container aa (min-width:900px){.only-s{display:none!important}}
  @container aa (min-width:900px) and (max-width:1180px){.sumsay .btn+.btn{display:none}}
  @container aa (max-width:639px){.only-t{display:none!important} .row{grid-template-columns:20px minmax(84px,1fr) 52px 118px 100px 34px 14px} .row .vm,.trow>.c-vm{display:none} .trow{grid-template-columns:16px minmax(70px,1fr) 118px 76px 96px 54px 34px}}
  @container aa (max-width:559px){.only-m{display:none!important} .ctl.lay{padding:0 6px;gap:2px} .row{grid-template-columns:20px minmax(0,1fr) 114px 96px 34px;column-gap:6px} .row :is(.sp,.me,.cv),.row>.sp,.row>.me,.row>.cv{display:none}
    .trow{grid-template-columns:16px minmax(56px,1fr) 114px 68px 96px 34px} .trow>.c-me{display:none}}
  @container aa (max-width:459px){.row{grid-template-columns:20px minmax(0,1fr) 114px 34px} .row>.ra,.trow>.c-ra{display:none} .trow{grid-template-columns:16px minmax(56px,1fr) 114px 68px 34px}}
  @container aa (max-width:359px){.only-n{display:none!important} .hd{padding:0 6px;gap:2px} .ctl.lay{border-color:transparent;background:none} .ctl.lay>svg:last-child{display:none}
    .row{grid-template-columns:16px minmax(0,1fr) 106px 28px;column-gap:5px;padding:0 6px 0 8px} .in .row{padding-left:20px} .in .row:not(.sel)::before,.in .morerow::before{left:10px} .sym i{display:none}
    .trow{grid-template-columns:14px minmax(0,1fr) 106px 28px;column-gap:5px;padding:0 6px} .trow>.c-price{display:none}
    .card{grid-template-columns:118px minmax(0,1fr)} .chg.big{font-size:14px} .listhd{padding-left:8px;gap:3px} .sortby{max-width:92px} .gauge{flex-direction:column;gap:6px;align-items:stretch} .gauge>svg{align-self:center} .gauge .hist{flex:none}
    .comp{grid-template-columns:72px minmax(0,1fr) 32px;gap:0 6px} .comp .pc{display:none} .heat{grid-template-columns:repeat(2,minmax(0,1fr))} .strip{padding:4px 8px;gap:6px} .nowline{gap:4px 10px} .wins{width:100%} .wins .chg{font-size:11px;gap:1px;letter-spacing:-.02em} .wins .chg svg{width:6px} .wins button{flex:1 1 0;min-width:0;flex-direction:column;justify-content:center;padding:0 3px;gap:1px;height:38px;line-height:14px} .wins:has(:nth-child(5)){flex-wrap:wrap} .wins:has(:nth-child(5)) button{flex:1 0 30%}
    .exp{padding:8px 8px 10px 10px} .facts{grid-template-columns:1fr 1fr} .acts .btn{flex:1 1 auto;justify-content:center;padding:0 6px} .tabl>[role=tab]{padding:0 10px} .pill{padding:0 8px!important;gap:5px} .ft{padding:0 8px} .col-mkt{padding:6px}
    .scrim{background:rgba(5,7,10,.6)} .menu{top:auto;bottom:0;left:0;right:0;width:auto;border-radius:8px 8px 0 0;max-height:86%}}
  @container aa (max-width:269px){.badge .age,.sym .more{display:none!important}}
  @media (pointer:coarse){:is(.row,.trow:not(.th)){height:44px} .card{height:114px;padding-top:12px} .inc .inc-hd{height:48px} .morerow{height:44px} .in .morerow::before{height:22px} .sm-row{min-height:44px} .acts .btn{min-height:32px} .qa{display:none} .sym .lnk:not(.nv){line-height:43px}}
  @media (forced-colors:active){
    :is(.on,.sel,[aria-selected=true],[aria-pressed=true]):is(.ib,.ctl,.mi,.tile,.row,.card,.trow,[role=tab]){outline:2px solid Highlight;outline-offset:-2px}
    .sevt .off{text-decoration:line-through}
    :is(.breadth,.mini,.bar,.stack,.ramp,.tile,.source>i,.sk,.pill,.dotlive,.cnt){forced-color-adjust:none} :is(.breadth,.bar,.stack,.mini,.tile,.ramp){outline:1px solid CanvasText}
    .bar,.mini,.stack,.stack .rest,.breadth :is(.f,.u){background:Canvas!important} .breadth .u{border-left:1px solid CanvasText} .breadth .u b{color:CanvasText}
    .tile,.tile *{color:var(--t1)} .wins .on{outline:2px solid Highlight;outline-offset:-2px}
  }
  @media (prefers-reduced-motion:no-preference){
    .dotlive{animation:aa-beat 2s ease-in-out infinite} .sk{animation:aa-sk 1.4s ease-in-out infinite} .still .sk{animation:none} .fresh{animation:aa-new .6s ease-out}
  }
}
@keyframes aa-beat{50%{opacity:.45}} @keyframes aa-sk{50%{opacity:.55}} @keyframes aa-new{from{background:color-mix(in srgb,var(--accent) 26%,var(--bg1))}}
`;
function installStyle() {
    const page = globalThis;
    if (page.__anomalyStyle === STYLE)
        return;
    page.__anomalyStyle = STYLE;
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}

Component
