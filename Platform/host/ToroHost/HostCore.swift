#if !hasFeature(Embedded)
import CToroHost
import Glibc
import ToroCore
import ToroProcess

/// The epoll set that the process's run loop waits in.
final class HostWait: HostPoller {
    /// The process's one.
    static let shared = HostWait()

    let epoll: Int32
    let event: Int32

    private init() {
        epoll = toro_host_epoll()
        event = toro_host_event()
        precondition(epoll >= 0 && event >= 0, "no descriptor for the run loop")
        _ = toro_host_watch(epoll, event, .max)
    }

    func poll(blocking: Bool) {
        Core.assumeIsolated { HostCore.shared.turn(blocking: blocking) }
    }

    func wake() {
        var one: UInt64 = 1
        // SAFETY: eight bytes of the number.
        _ = unsafe write(event, &one, 8)
    }
}

/// The core of a Linux process: the clock, the timers, and who waits for which descriptor.
@Core final class HostCore: Timekeeper {
    /// The process's core; started with the first use.
    nonisolated static let shared = HostCore()

    private var timers = TimerQueue()
    private var sources: [Source] = []
    private var free: [Int] = []
    private var generation: UInt32 = 0
    /// The connections that were closed and wait for their peers.
    private var lingering: [ObjectIdentifier: HostStream] = [:]
    /// Resumed when there is none any more.
    private var emptied: Waiter<Bool>?

    /// Whose descriptor has a place in the set.
    private struct Source {
        var readiness: HostReadiness?
        var generation: UInt32
    }

    private nonisolated init() {
        Core.shared.start(clock: self)
        HostRunLoop.shared.install(HostWait.shared)
    }

    func turn(blocking: Bool) {
        var limit: Int64 = blocking ? -1 : 0
        if blocking, let next = timers.next {
            limit = Int64(clamping: (next - now).nanoseconds)
        }
        var tokens = [UInt64](repeating: 0, count: 64)
        // SAFETY: the array has 64 elements.
        let count = unsafe toro_host_wait(HostWait.shared.epoll, &tokens, limit)
        for token in tokens.prefix(Int(count)) {
            guard token != .max else {
                var number: UInt64 = 0
                // SAFETY: eight bytes into the number.
                _ = unsafe read(HostWait.shared.event, &number, 8)
                continue
            }
            let source = sources[Int(token & 0xffff_ffff)]
            if source.generation == UInt32(token >> 32) { source.readiness?.changed() }
        }
        while let action = timers.popDue(at: now) { action() }
    }

    /// Has `readiness` hear of changes of its descriptor until `forget`.
    func watch(_ readiness: HostReadiness, _ file: Int32) -> Int {
        let place = free.popLast() ?? sources.count
        if place == sources.count { sources.append(Source(readiness: nil, generation: 0)) }
        generation &+= 1
        sources[place] = Source(readiness: readiness, generation: generation)
        _ = toro_host_watch(HostWait.shared.epoll, file, UInt64(generation) << 32 | UInt64(place))
        return place
    }

    func forget(_ place: Int) {
        sources[place].readiness = nil
        free.append(place)
    }

    // MARK: Closed connections

    /// Keeps count of a connection that was closed and waits for its peer.
    func lingers(_ stream: HostStream) { lingering[ObjectIdentifier(stream)] = stream }

    func lingersNoMore(_ stream: HostStream) {
        lingering[ObjectIdentifier(stream)] = nil
        guard lingering.isEmpty, let emptied else { return }
        self.emptied = nil
        emptied.resume(true)
    }

    /// Gives the descriptors of closed connections back that wait for nothing but the end of a
    /// peer that has everything; false if there was none.
    func hurry() -> Bool {
        let before = lingering.count
        for stream in Array(lingering.values) { stream.releaseIfDelivered() }
        return lingering.count < before
    }

    /// Waits until no closed connection waits for its peer any more, for so long at most: what
    /// ends the process also ends these, with a reset where the peer is still sending.
    func settleClosed(within time: TimeSpan) async {
        guard !lingering.isEmpty else { return }
        let waiter = Waiter<Bool>()
        emptied = waiter
        let timer = schedule(at: now + time) { waiter.resume(false) }
        _ = await waiter.wait()
        cancel(timer)
    }

    // MARK: Timekeeper

    var now: Instant {
        var time = timespec()
        // SAFETY: the structure outlives the call.
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
    }

    var wallTime: WallTime? {
        var time = timespec()
        // SAFETY: the structure outlives the call.
        _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
        return WallTime(seconds: Int64(time.tv_sec), nanoseconds: UInt32(time.tv_nsec))
    }

    func schedule(at deadline: Instant, _ action: @escaping @Core () -> Void) -> TimerID {
        timers.schedule(at: deadline, action)
    }

    func cancel(_ timer: TimerID) { timers.cancel(timer) }
}

/// A descriptor on which a task can wait for a change.
@Core final class HostReadiness {
    let file: Int32
    private var place = -1
    private var waiters: [Waiter<Bool>] = []
    private(set) var isOpen = true

    /// Takes over a descriptor.
    init(_ file: Int32) {
        self.file = file
        place = HostCore.shared.watch(self, file)
    }

    /// Called with each change, until it is closed.
    var observer: (@Core () -> Void)?

    /// Something became possible; whoever waits tries again.
    func changed() {
        observer?()
        let woken = waiters
        waiters.removeAll()
        for waiter in woken { waiter.resume(true) }
    }

    /// Waits for a change; false if the task is cancelled.
    func wait() async -> Bool {
        let waiter = Waiter<Bool>()
        waiters.append(waiter)
        let isWoken = await waiter.wait(cancelled: false)
        if !isWoken { waiters.removeAll { $0 === waiter } }
        return isWoken
    }

    /// Closes the descriptor and wakes whoever waits.
    func close() {
        guard isOpen else { return }
        isOpen = false
        HostCore.shared.forget(place)
        _ = Glibc.close(file)
        changed()
    }
}
#endif
