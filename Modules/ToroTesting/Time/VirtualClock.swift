import ToroCore

/// A clock that stands still until a test moves it.
///
/// Timers fire in the order of their deadlines, and of scheduling among equal ones, while
/// ``advance(by:)`` runs; between two timers everything that the first one woke runs to its end. A
/// timer whose deadline has passed already when it is scheduled fires in a job of its own, as a
/// real clock's would, without the clock being moved.
///
///     let clock = VirtualClock()
///     let task = Task { await sleeper(clock) }
///     await clock.advance(by: .seconds(5))
///     #expect(clock.pendingTimers == 0)
@Core public final class VirtualClock: Timekeeper {
    private struct Entry {
        let deadline: Instant
        let id: TimerID
        let action: @Core () -> Void
    }

    /// Sorted, the next timer last; a test has few.
    private var entries: [Entry] = []
    private var lastNumber: UInt64 = 0

    /// The virtual monotonic time.
    public private(set) var now: Instant

    /// The virtual civil time, nil until a test sets it; runs along with `now`.
    public var wallTime: WallTime?

    /// The timers that have fired so far.
    public private(set) var firedTimers = 0

    /// The timers that have fired at this very time, and how many are no test's purpose: something
    /// sets a timer again and again for a time that has passed, and no test with it would end.
    private var firedNow = 0
    private static var mostAtOnce: Int { 1_000_000 }

    /// A clock that shows `start`, with civil time `wallTime`.
    public init(now start: Instant = Instant(nanoseconds: 0), wallTime: WallTime? = nil) {
        now = start
        self.wallTime = wallTime
    }

    /// The timers that are scheduled and have not fired; 0 at the end of a test that leaks none.
    public var pendingTimers: Int { entries.count }

    /// The earliest deadline of a scheduled timer; nil if there is none.
    public var nextDeadline: Instant? { entries.last?.deadline }

    /// Schedules `action`; see ``ToroCore/Timekeeper``. O(n) here.
    public func schedule(at deadline: Instant, _ action: @escaping @Core () -> Void) -> TimerID {
        lastNumber += 1
        let id = TimerID(number: lastNumber)
        // Before all entries that are as early: those were scheduled first and fire first.
        let place = entries.firstIndex { $0.deadline <= deadline } ?? entries.endIndex
        entries.insert(Entry(deadline: deadline, id: id, action: action), at: place)
        if deadline <= now { Task { @Core in fireNext(until: now) } }
        return id
    }

    /// Takes a timer back; see ``ToroCore/Timekeeper``. O(n) here.
    public func cancel(_ timer: TimerID) {
        entries.removeAll { $0.id == timer }
    }

    /// Moves the clock on by `span`, firing every timer on the way at its own time.
    ///
    /// Before, between and after the timers all jobs of the run loop run until none is left: on a
    /// host by `HostRunLoop.settle`, in a guest by yielding 64 times.
    public func advance(by span: TimeSpan) async {
        let target = now + span
        await settle()
        while fireNext(until: target) { await settle() }
        move(to: target)
    }

    /// Moves the clock to `deadline` as `advance(by:)` does; does nothing if it is past.
    public func advance(to deadline: Instant) async { await advance(by: deadline - now) }

    /// Fires the next timer if it is due by `target`; false if there was none.
    @discardableResult
    private func fireNext(until target: Instant) -> Bool {
        guard let next = entries.last, next.deadline <= target, next.deadline < .distantFuture
        else { return false }
        entries.removeLast()
        move(to: next.deadline)
        firedTimers += 1
        firedNow += 1
        precondition(firedNow < Self.mostAtOnce, "a timer is set again and again without end")
        next.action()
        return true
    }

    private func move(to deadline: Instant) {
        guard deadline > now else { return }
        firedNow = 0
        let span = (deadline - now).nanoseconds
        now = deadline
        guard let wall = wallTime else { return }
        let nanoseconds = UInt64(wall.nanoseconds) + span % 1_000_000_000
        let seconds = Int64(span / 1_000_000_000) + Int64(nanoseconds / 1_000_000_000)
        wallTime = WallTime(
            seconds: wall.seconds.addingReportingOverflow(seconds).partialValue,
            nanoseconds: UInt32(nanoseconds % 1_000_000_000))
    }
}
