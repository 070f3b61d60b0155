import ToroCore

/// The memory that the bodies of files may take.
///
/// The budget belongs to all connections of a server. When it is nearly used up blocks become
/// small and nothing is read ahead, so that hundreds of clients fit into a small guest. Who finds
/// no memory at all waits for its turn, first come, first served.
@Core final class BlockBudget {
    private static var smallest: Int { 4_096 }
    /// The largest block: a file that fits is read before its head goes out.
    nonisolated static var largest: Int { 65_536 }
    /// How long somebody waits for memory at most.
    private static var patience: TimeSpan { .seconds(10) }
    /// How often those who wait try again: memory may come back elsewhere.
    private static var interval: TimeSpan { .milliseconds(50) }

    /// The bytes that are not in use; below zero by at most the smallest block per connection.
    private(set) var free: Int
    /// Who waits, in order.
    private var first: BlockWait?
    private var last: BlockWait?
    /// The next try of those who wait.
    private var retry: (service: HTTPService, id: TimerID)?
    /// Whether there was no memory lately.
    private var isTight = false

    /// A budget of `bytes`, or of a quarter of the memory there is if that is less.
    init(bytes: Int) {
        free = bytes
        while free > BlockBudget.largest, (try? IOBuffer(capacity: 4 * free)) == nil { free /= 2 }
    }

    /// Whether a further block may be taken only to go faster.
    var allowsReadAhead: Bool { first == nil && free >= 4 * BlockBudget.largest }

    /// A buffer for a block of a file of which `wanted` bytes are left, as `take` gives it; waits
    /// for memory if there is none, and has a connection that rests give way. Nil if there is none
    /// in time.
    func waitAndTake(_ wanted: UInt64, _ service: HTTPService) async -> IOBuffer? {
        if first == nil, hasRoom(service), let buffer = take(wanted) { return buffer }
        let wait = BlockWait(wanted, until: service.clock.now + BlockBudget.patience)
        if let last { last.next = wait } else { first = wait }
        last = wait
        service.giveMemory()
        if retry == nil { tryLater(service) }
        _ = await wait.waiter.wait(cancelled: false)
        wait.isOver = true
        return wait.buffer.take()
    }

    /// Whether one more answer may take memory. Once there was none, and when the budget is used
    /// up, this is looked at each time: the answers under way need some to go on.
    private func hasRoom(_ service: HTTPService) -> Bool {
        guard isTight || free < BlockBudget.largest else { return true }
        let hasRoom = service.hasBlockMemory
        if hasRoom, first == nil { isTight = false }
        return hasRoom
    }

    /// A buffer for a block of a file of which `wanted` bytes are left; nil if there is no memory.
    /// Its memory must be given back with `release`.
    func take(_ wanted: UInt64) -> IOBuffer? {
        var size = min(BlockBudget.largest, Int(min(wanted, UInt64(BlockBudget.largest))))
        // A quarter of what is free at most: the later ones get less, but they get some.
        size = min(size, max(BlockBudget.smallest, free / 4))
        while true {
            if let buffer = try? IOBuffer(capacity: size) {
                free -= buffer.capacity
                return buffer
            }
            isTight = true
            guard size > BlockBudget.smallest else { return nil }
            size = max(size / 4, BlockBudget.smallest)
        }
    }

    /// Counts a buffer of this capacity as free.
    func release(_ capacity: Int) {
        free += capacity
        if let retry { serve(retry.service) }
    }

    /// Gives those who wait what there is, in their order, and nothing to those whose time is over.
    private func serve(_ service: HTTPService) {
        while let wait = first {
            if !wait.isOver {
                if service.clock.now >= wait.end {
                    wait.waiter.resume(false)
                } else if hasRoom(service), let buffer = take(wait.wanted) {
                    wait.buffer = consume buffer
                    wait.waiter.resume(true)
                } else {
                    return
                }
            }
            first = wait.next
        }
        last = nil
        if let retry { retry.service.clock.cancel(retry.id) }
        retry = nil
    }

    private func tryLater(_ service: HTTPService) {
        let clock = service.clock
        let id = clock.schedule(at: clock.now + BlockBudget.interval) { [self] in
            retry = nil
            serve(service)
            if first != nil { tryLater(service) }
        }
        retry = (service, id)
    }
}

/// Somebody who waits for a block.
@Core private final class BlockWait {
    let wanted: UInt64
    /// When it has waited long enough.
    let end: Instant
    let waiter = Waiter<Bool>()
    var buffer: IOBuffer?
    /// Whether it does not wait any more.
    var isOver = false
    var next: BlockWait?

    init(_ wanted: UInt64, until end: Instant) {
        self.wanted = wanted
        self.end = end
    }
}
