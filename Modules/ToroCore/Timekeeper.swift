/// A point on a core's monotonic clock, in nanoseconds since the machine started.
public struct Instant: Comparable, Hashable, Sendable {
    /// Nanoseconds since the clock's zero.
    public var nanoseconds: UInt64

    /// The point `nanoseconds` after the clock's zero.
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    /// The end of time; a timer for it never fires.
    public static let distantFuture = Instant(nanoseconds: .max)

    /// Which of two points comes first.
    public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

    /// The point `span` later; saturates at `distantFuture`.
    public static func + (a: Instant, span: TimeSpan) -> Instant {
        let (sum, overflow) = a.nanoseconds.addingReportingOverflow(span.nanoseconds)
        return overflow ? .distantFuture : Instant(nanoseconds: sum)
    }

    /// The time from `b` to `a`, zero if `a` is not later.
    public static func - (a: Instant, b: Instant) -> TimeSpan {
        TimeSpan(nanoseconds: a.nanoseconds > b.nanoseconds ? a.nanoseconds - b.nanoseconds : 0)
    }
}

/// A length of time in nanoseconds, never negative, up to 584 years.
///
/// Swift's `Duration` is 128 bits of attoseconds; a kernel wants one machine word.
public struct TimeSpan: Comparable, Hashable, Sendable {
    /// The length in nanoseconds.
    public var nanoseconds: UInt64

    /// A length of `nanoseconds`.
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    /// No time at all.
    public static let zero = TimeSpan(nanoseconds: 0)

    /// `count` nanoseconds.
    public static func nanoseconds(_ count: UInt64) -> TimeSpan { TimeSpan(nanoseconds: count) }

    /// `count` microseconds; saturates.
    public static func microseconds(_ count: UInt64) -> TimeSpan { scaled(count, 1_000) }

    /// `count` milliseconds; saturates.
    public static func milliseconds(_ count: UInt64) -> TimeSpan { scaled(count, 1_000_000) }

    /// `count` seconds; saturates.
    public static func seconds(_ count: UInt64) -> TimeSpan { scaled(count, 1_000_000_000) }

    /// Which of two lengths is shorter.
    public static func < (a: TimeSpan, b: TimeSpan) -> Bool { a.nanoseconds < b.nanoseconds }

    private static func scaled(_ count: UInt64, _ unit: UInt64) -> TimeSpan {
        let (product, overflow) = count.multipliedReportingOverflow(by: unit)
        return TimeSpan(nanoseconds: overflow ? .max : product)
    }
}

/// A point in civil time: seconds and nanoseconds since 1970-01-01T00:00:00Z, leap seconds left
/// out (POSIX.1 "Seconds Since the Epoch").
public struct WallTime: Comparable, Hashable, Sendable {
    /// Whole seconds since the epoch; negative before it.
    public var seconds: Int64

    /// The part of a second, 0 to 999,999,999.
    public var nanoseconds: UInt32

    /// The given point; `nanoseconds` above 999,999,999 is taken as 999,999,999.
    public init(seconds: Int64, nanoseconds: UInt32 = 0) {
        self.seconds = seconds
        self.nanoseconds = min(nanoseconds, 999_999_999)
    }

    /// Which of two points comes first.
    public static func < (a: WallTime, b: WallTime) -> Bool {
        (a.seconds, a.nanoseconds) < (b.seconds, b.nanoseconds)
    }
}

/// Names a timer that was scheduled and has not fired.
public struct TimerID: Hashable, Sendable {
    /// The number the clock gave the timer; never used twice.
    public let number: UInt64

    /// The timer with this number. For implementations of ``Timekeeper``.
    public init(number: UInt64) { self.number = number }
}

/// A core's clock and its timers.
///
/// ToroProcess builds sleep, deadlines and time-outs on these three requirements.
@Core public protocol Timekeeper: AnyObject {
    /// Monotonic time.
    var now: Instant { get }

    /// Civil time, or nil on a machine that has not been told it.
    var wallTime: WallTime? { get }

    /// Calls `action` once in the run loop, at `deadline` or soon after it; never before this
    /// function returns. O(log n) in the number of timers.
    func schedule(at deadline: Instant, _ action: @escaping @Core () -> Void) -> TimerID

    /// Takes a timer back. A timer that has fired or is unknown is ignored. O(log n).
    func cancel(_ timer: TimerID)
}
