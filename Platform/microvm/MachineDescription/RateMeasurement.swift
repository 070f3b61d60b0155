import ToroCore

/// A look at two clocks at once: a counter, and a timer of known rate that counts down.
public struct ClockReading: Equatable, Sendable {
    /// The counter.
    public var ticks: UInt64
    /// What is left on the timer, in nanoseconds.
    public var count: UInt32
    /// By how many ticks the two may be apart.
    public var doubt: UInt64

    /// The given reading.
    public init(ticks: UInt64, count: UInt32, doubt: UInt64) {
        self.ticks = ticks
        self.count = count
        self.doubt = doubt
    }
}

/// What a core does with its timer when it is about to wait.
public enum TimerUse: Equatable, Sendable {
    /// Sets it for this wait: nothing is measured.
    case free
    /// Starts it with this period, in nanoseconds, and reads both clocks. It ends this wait, too.
    case begin(period: UInt32)
    /// Leaves it alone: it fires before the wait has to end.
    case goOn
    /// Reads both clocks and stops it; then asks again.
    case end
}

/// Measures a counter's rate against a core's timer, while the timer also ends the core's waits.
///
/// A rate is as exact as the span is long over which it was taken, and the timer is there for
/// something else. So it runs with a period instead of once, which ends waits as well, and undisturbed
/// for a second where deadlines allow. Several such spans make a measurement:
///
///     not due ──a minute──▶ due ──a wait──▶ span under way ──1 s, or a nearer deadline──▶ due
///        ▲                                                                                  │
///        └───────────────── the spans are exact to a millionth: a new rate ─────────────────┘
///
/// A core that sleeps for good is woken once, for the first measurement, and for a later one only if
/// something else has woken it. No I/O: readings in, decisions out.
public struct RateMeasurement: Sendable {
    /// How long a span is unless a deadline ends it: more if the reading at its beginning was poor, but
    /// no longer than that another one may be better.
    private static var span: UInt64 { 1_000_000_000 }
    private static var longestSpan: UInt64 { 16_000_000_000 }
    /// How long the timer's period is at most: its 32 bits hold 4.29 s.
    private static var longestPeriod: UInt64 { 4_000_000_000 }
    /// A period that is shorter is not worth it, and would be taken for its neighbour.
    private static var shortestPeriod: UInt64 { 5_000_000 }
    /// How long a rate holds: the host's own clock is slewed.
    private static var pause: TimeSpan { .seconds(60) }
    /// Rates that differ by a part in so many of the one before are believed when they are measured
    /// twice: the host may have been suspended meanwhile.
    private static var tolerance: UInt64 { 2_000 }

    private struct Run {
        var start: ClockReading
        var began: Instant
        var period: UInt32
        /// How long it is to be.
        var length: UInt64
        /// The wait before, in this run.
        var lastWait: Instant
    }

    /// Nanoseconds for a tick, times 2^32.
    public private(set) var scale: UInt64
    /// The measurements that were believed.
    public private(set) var count = 0
    private var due = Instant(nanoseconds: 0)
    private var run: Run?
    /// A rate that is too different to be believed at once.
    private var candidate: UInt64?

    // The spans so far.
    private var ticks: UInt64 = 0
    private var nanoseconds: UInt64 = 0
    /// The variance of their sum, in nanoseconds squared.
    private var variance: UInt64 = 0

    /// A measurement of a counter that is believed to have this scale.
    public init(scale: UInt64) { self.scale = scale }

    /// What to do with the timer in a wait from `now` to `deadline`.
    public mutating func plan(at now: Instant, until deadline: Instant) -> TimerUse {
        let wait = (deadline - now).nanoseconds
        guard let run else {
            guard now >= due, wait >= Self.shortestPeriod else { return .free }
            return .begin(period: UInt32(min(wait, Self.longestPeriod)))
        }
        let age = (now - run.began).nanoseconds
        if age >= run.length { return .end }
        // Where the timer is in its period is only known as well as the rate. Whoever took a tick that
        // has passed for one to come would sleep for a period too long.
        let period = UInt64(run.period)
        let left = period - age % period
        if left < age >> 10 + 20_000 || left > wait { return .end }
        // A core with nothing else to do is not woken for a short period's sake.
        let isResting = (now - run.lastWait).nanoseconds >= period / 2
        if isResting, wait >= 8 * period, period < Self.span { return .end }
        self.run?.lastWait = now
        return .goOn
    }

    /// The timer was started with this period, just before the reading.
    public mutating func begin(_ reading: ClockReading, period: UInt32, at now: Instant) {
        let doubt = ClockLine.nanoseconds(in: reading.doubt, scale: scale)
        // Worth a millionth, if it can be; but no longer than that the periods can be counted. One that
        // cannot become good enough ends with this wait.
        let wanted =
            doubt < Self.doubt(in: Self.longestSpan)
            ? min(max(Self.span, doubt &* 1_000_000), Self.longestSpan) : 0
        let length = min(wanted, UInt64(period) * 200)
        run = Run(start: reading, began: now, period: period, length: length, lastWait: now)
    }

    /// The timer is stopped, just after the reading. The counter's new scale, if it is known now.
    public mutating func end(_ reading: ClockReading, at now: Instant) -> UInt64? {
        guard let run else { return nil }
        self.run = nil
        add(run, reading)
        let milliseconds = nanoseconds / 1_000_000
        guard milliseconds >= Self.span / 1_000_000,
            variance <= milliseconds &* milliseconds
        else { return nil }
        let measured = ClockLine.scale(of: ticks, taking: nanoseconds)
        (ticks, nanoseconds, variance) = (0, 0, 0)
        guard let measured else { return nil }
        guard isNear(measured, scale) || candidate.map({ isNear(measured, $0) }) == true else {
            candidate = measured
            return nil
        }
        candidate = nil
        scale = measured
        count += 1
        due = now + Self.pause
        return measured
    }

    /// Adds a span that has ended, unless its readings say too little of it.
    private mutating func add(_ run: Run, _ reading: ClockReading) {
        guard reading.ticks > run.start.ticks, max(reading.count, run.start.count) <= run.period
        else { return }
        let span = reading.ticks - run.start.ticks
        let modulus = UInt64(run.period) + 1
        // The timer's part of a period, and as many whole ones as the counter makes likely.
        let part = (modulus + UInt64(run.start.count) - UInt64(reading.count)) % modulus
        let likely = ClockLine.nanoseconds(in: span, scale: scale)
        let periods = (max(likely, part) - part &+ modulus / 2) / modulus
        let elapsed = part &+ periods &* modulus
        let first = ClockLine.nanoseconds(in: run.start.doubt, scale: scale)
        let last = ClockLine.nanoseconds(in: reading.doubt, scale: scale)
        guard max(first, last) < Self.doubt(in: elapsed) else { return }
        ticks &+= span
        nanoseconds &+= elapsed
        // Each is as likely to be off by anything up to its doubt.
        variance &+= (first &* first &+ last &* last) / 3
    }

    /// What a reading at an end of a span may be apart, in nanoseconds: poor ones would take all others'
    /// worth away.
    private static func doubt(in span: UInt64) -> UInt64 { 1_000 + span / 200_000 }

    private func isNear(_ one: UInt64, _ other: UInt64) -> Bool {
        max(one, other) - min(one, other) <= other / Self.tolerance
    }
}
