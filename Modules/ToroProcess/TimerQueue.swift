import ToroCore

/// Timers in the order of their deadlines, and of scheduling among equal ones: a binary heap whose
/// entries know their places, so that a timer can be taken back without a search.
public struct TimerQueue {
    private final class Timer {
        let slot: Int
        /// 0 of a free timer.
        var number: UInt64 = 0
        var deadline = Instant.distantFuture
        /// The timer's place in the heap; of a free timer, the slot of the next free one.
        var place = -1
        var action: (@Core () -> Void)?

        init(slot: Int) { self.slot = slot }

        func precedes(_ other: Timer) -> Bool {
            deadline == other.deadline ? number < other.number : deadline < other.deadline
        }
    }

    /// A timer's number is its ordinal shifted by this, with its slot in the low bits.
    private static let slotBits: UInt64 = 20
    private static let slotLimit = 1 << 20

    private var heap = ObjectList<Timer>()
    /// Each timer in its slot, free ones too.
    private var slots = ObjectList<Timer>()
    /// The first of the free slots, -1 if there is none.
    private var firstFree = -1
    private var ordinal: UInt64 = 0

    /// A queue without timers.
    public init() {}

    /// The timers in the queue.
    public var count: Int { heap.count }

    /// The earliest deadline, nil if there is no timer.
    public var next: Instant? { heap.isEmpty ? nil : heap[0].deadline }

    /// Adds a timer. O(log n). Traps beyond 1,048,576 timers.
    public mutating func schedule(
        at deadline: Instant, _ action: @escaping @Core () -> Void
    ) -> TimerID {
        let timer = takeFree()
        ordinal += 1
        timer.number = ordinal << TimerQueue.slotBits | UInt64(timer.slot)
        timer.deadline = deadline
        timer.action = action
        heap.append(timer)
        rise(timer, from: heap.count - 1)
        return TimerID(number: timer.number)
    }

    private mutating func takeFree() -> Timer {
        if firstFree < 0 {
            precondition(slots.count < TimerQueue.slotLimit, "too many timers")
            firstFree = slots.count
            slots.append(Timer(slot: firstFree))
        }
        let timer = slots[firstFree]
        firstFree = timer.place
        return timer
    }

    /// Takes a timer back; one that has fired or is unknown is ignored. O(log n).
    public mutating func cancel(_ timer: TimerID) {
        let slot = Int(timer.number & UInt64(TimerQueue.slotLimit - 1))
        guard timer.number > 0, slot < slots.count, slots[slot].number == timer.number else {
            return
        }
        remove(slots[slot])
    }

    /// Takes the earliest timer out if it is due at `now`, and returns what to call.
    public mutating func popDue(at now: Instant) -> (@Core () -> Void)? {
        guard let deadline = next, deadline <= now, deadline < .distantFuture else { return nil }
        let timer = heap[0]
        let action = timer.action
        remove(timer)
        return action
    }

    private mutating func remove(_ timer: Timer) {
        let place = timer.place
        timer.number = 0
        timer.action = nil
        timer.place = firstFree
        firstFree = timer.slot
        let last = heap.removeLast()
        if last !== timer {
            rise(last, from: place)
            sink(last)
        }
        // With the last timer the memory of all goes back.
        if heap.isEmpty {
            slots.removeAll()
            firstFree = -1
        }
    }

    private mutating func put(_ timer: Timer, at place: Int) {
        heap[place] = timer
        timer.place = place
    }

    private mutating func rise(_ timer: Timer, from start: Int) {
        var place = start
        while place > 0 {
            let parent = heap[(place - 1) / 2]
            guard timer.precedes(parent) else { break }
            let above = parent.place
            put(parent, at: place)
            place = above
        }
        put(timer, at: place)
    }

    private mutating func sink(_ timer: Timer) {
        var place = timer.place
        while true {
            var child = 2 * place + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
            guard heap[child].precedes(timer) else { break }
            put(heap[child], at: place)
            place = child
        }
        put(timer, at: place)
    }
}
