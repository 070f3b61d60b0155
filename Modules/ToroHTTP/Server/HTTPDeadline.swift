import ToroCore

/// The one timer of a connection.
///
/// Most deadlines never pass and each buffer has a new one, so setting one is an assignment: the
/// timer is moved only if it would fire too late, and goes on when it fires too early.
///
/// A peer that owes us something has a time for it. One to which we owe bytes is looked at from
/// time to time: it is slow while it goes on taking them, and stalled when it has taken none for
/// ``HTTPLimits/sendTime``.
@Core final class HTTPDeadline {
    /// What the connection waits for.
    enum Phase {
        /// The first byte of a request.
        case idle
        /// The rest of a request's head.
        case head
        /// Bytes of a request's body.
        case body
        /// The peer's taking of our bytes.
        case send
    }

    private let clock: any Timekeeper
    private let limits: HTTPLimits
    private var phase = Phase.idle
    /// When the phase began.
    private(set) var start = Instant(nanoseconds: 0)
    /// When the phase is over; while we owe bytes, when to look at the peer again.
    private var deadline = Instant.distantFuture
    /// Whether the peer has not taken all of our bytes, as far as we know.
    private var owesBytes = false
    /// The bytes that the peer had taken when it was looked at, and when that number was seen to
    /// have grown, or we began to look.
    private var taken: UInt64 = 0
    private var lastTaken = Instant.distantFuture
    /// When the request must be here, all of it.
    private var requestEnd = Instant.distantFuture
    private var pending: (id: TimerID, at: Instant)?
    /// Who is told; empty after `stop`.
    var connection: HTTPConnection?

    init(_ clock: any Timekeeper, _ limits: HTTPLimits) {
        self.clock = clock
        self.limits = limits
    }

    /// Lets the phase's limit pass from now on until the connection is told.
    func set(_ phase: Phase) {
        let now = clock.now
        self.phase = phase
        start = now
        owesBytes = false
        switch phase {
        case .idle:
            requestEnd = .distantFuture
            deadline = now + limits.idleTime
            // The peer is idle from when it has its answer. Most have it soon.
            if let connection, !connection.stream.progress.isComplete {
                owe(now, lookingAfter: min(.seconds(1), lookTime))
            }
        case .head, .body:
            if requestEnd == .distantFuture { requestEnd = now + limits.requestTime }
            let time = phase == .head ? limits.headTime : limits.bodyTime
            deadline = min(now + time, requestEnd)
        case .send: owe(now, lookingAfter: lookTime)
        }
        if let pending {
            if pending.at <= deadline { return }
            clock.cancel(pending.id)
        }
        schedule()
    }

    /// As `set`, but if that phase has begun already its deadline stays.
    func begin(_ phase: Phase) {
        if self.phase == phase, deadline < .distantFuture { return }
        set(phase)
    }

    /// Nothing is waited for.
    func clear() {
        deadline = .distantFuture
        // What a slow reader takes its time for is not the request's time.
        guard phase == .send, requestEnd < .distantFuture else { return }
        requestEnd = requestEnd + (clock.now - start)
    }

    /// Takes the timer back for good.
    func stop() {
        deadline = .distantFuture
        connection = nil
        if let pending { clock.cancel(pending.id) }
        pending = nil
    }

    private func schedule() {
        let id = clock.schedule(at: deadline) { self.fire() }
        pending = (id, deadline)
    }

    private func fire() {
        pending = nil
        if deadline == .distantFuture { return }
        if clock.now < deadline || (owesBytes && isTaking()) {
            schedule()
            return
        }
        deadline = .distantFuture
        connection?.expire(owesBytes ? .send : phase)
    }

    // MARK: Bytes that we owe

    /// How often a peer is looked at.
    private var lookTime: TimeSpan { TimeSpan(nanoseconds: limits.sendTime.nanoseconds / 4) }

    private func owe(_ now: Instant, lookingAfter time: TimeSpan) {
        owesBytes = true
        lastTaken = now
        deadline = now + time
    }

    /// Looks at the peer: whether it has not stalled; when to look again.
    private func isTaking() -> Bool {
        guard let connection else { return false }
        let now = clock.now
        let progress = connection.stream.progress
        if phase == .idle, progress.isComplete {
            owesBytes = false
            deadline = now + limits.idleTime
            return true
        }
        if progress.acknowledged != taken {
            taken = progress.acknowledged
            lastTaken = now
        }
        let end = lastTaken + limits.sendTime
        deadline = min(end, now + lookTime)
        return now < end
    }
}
