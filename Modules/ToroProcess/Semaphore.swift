import ToroCore

/// A number of permits that tasks of one core share, first come, first served.
@Core public final class Semaphore {
    /// The permits that nobody holds.
    public private(set) var available: Int
    private var waiters: [Waiter<Bool>] = []

    /// A semaphore with `permits` permits, 0 at least.
    public init(permits: Int) { available = max(permits, 0) }

    /// The tasks that wait for a permit.
    public var waiting: Int { waiters.count }

    /// Takes a permit; waits for one. Throws, and takes none, when the task is cancelled.
    public func acquire() async throws(Cancelled) {
        if available > 0 {
            available -= 1
            return
        }
        let waiter = Waiter<Bool>()
        waiters.append(waiter)
        guard await waiter.wait(cancelled: false) else {
            waiters.removeAll { $0 === waiter }
            throw Cancelled()
        }
    }

    /// Gives a permit back, or adds one; the task that has waited longest gets it.
    public func release() {
        while !waiters.isEmpty {
            let waiter = waiters.removeFirst()
            // One that was cancelled has not taken itself out yet; its permit goes to the next.
            if waiter.isDone { continue }
            waiter.resume(true)
            return
        }
        available += 1
    }
}
