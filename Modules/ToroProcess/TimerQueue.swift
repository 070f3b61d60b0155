import ToroCore

/// Timers in the order of their deadlines, and of scheduling among equal ones: a binary heap whose
/// entries know their places, so that a timer can be taken back without a search.
public struct TimerQueue {
    private struct Slot {
        var number: UInt64
        /// The timer's place in the heap; of a free slot, the next free one.
        var place: Int
        var action: (@Core () -> Void)?
    }

    private struct Entry {
        var deadline: Instant
        var number: UInt64
        var slot: Int

        func precedes(_ other: Entry) -> Bool {
            deadline == other.deadline ? number < other.number : deadline < other.deadline
        }
    }

    /// A timer's number is its ordinal shifted by this, with its slot in the low bits.
    private static let slotBits: UInt64 = 20
    private static let slotLimit = 1 << 20
    /// So many slots are kept when the queue gets empty.
    private static let keptSlots = 64

    private var heap: [Entry] = []
    private var slots: [Slot] = []
    /// The first of the free slots, -1 if there is none.
    private var firstFree = -1
    private var ordinal: UInt64 = 0

    /// A queue without timers.
    public init() {}

    /// The timers in the queue.
    public var count: Int { heap.count }

    /// The earliest deadline, nil if there is no timer.
    public var next: Instant? { heap.first?.deadline }

    /// Adds a timer. O(log n). Traps beyond 1,048,576 timers.
    public mutating func schedule(
        at deadline: Instant, _ action: @escaping @Core () -> Void
    ) -> TimerID {
        if firstFree < 0 {
            precondition(slots.count < TimerQueue.slotLimit, "too many timers")
            firstFree = slots.count
            slots.append(Slot(number: 0, place: -1, action: nil))
        }
        let slot = firstFree
        firstFree = slots[slot].place
        ordinal += 1
        let number = ordinal << TimerQueue.slotBits | UInt64(slot)
        slots[slot] = Slot(number: number, place: heap.count, action: action)
        heap.append(Entry(deadline: deadline, number: number, slot: slot))
        rise(from: heap.count - 1)
        return TimerID(number: number)
    }

    /// Takes a timer back; one that has fired or is unknown is ignored. O(log n).
    public mutating func cancel(_ timer: TimerID) {
        let slot = Int(timer.number & UInt64(TimerQueue.slotLimit - 1))
        guard slot < slots.count, slots[slot].action != nil, slots[slot].number == timer.number
        else { return }
        remove(at: slots[slot].place)
    }

    /// Takes the earliest timer out if it is due at `now`, and returns what to call.
    public mutating func popDue(at now: Instant) -> (@Core () -> Void)? {
        guard let first = heap.first, first.deadline <= now, first.deadline < .distantFuture else {
            return nil
        }
        let action = slots[first.slot].action
        remove(at: 0)
        return action
    }

    private mutating func remove(at place: Int) {
        let slot = heap[place].slot
        slots[slot] = Slot(number: 0, place: firstFree, action: nil)
        firstFree = slot
        let last = heap.removeLast()
        guard place < heap.count else {
            if heap.isEmpty, slots.count > TimerQueue.keptSlots { giveBack() }
            return
        }
        put(last, at: place)
        rise(from: place)
        sink(from: slots[last.slot].place)
    }

    /// Gives the tables' memory back after a burst of timers.
    private mutating func giveBack() {
        heap = []
        slots = []
        firstFree = -1
    }

    private mutating func put(_ entry: Entry, at place: Int) {
        heap[place] = entry
        slots[entry.slot].place = place
    }

    private mutating func rise(from start: Int) {
        var place = start
        let entry = heap[place]
        while place > 0 {
            let parent = (place - 1) / 2
            guard entry.precedes(heap[parent]) else { break }
            put(heap[parent], at: place)
            place = parent
        }
        put(entry, at: place)
    }

    private mutating func sink(from start: Int) {
        var place = start
        let entry = heap[place]
        while true {
            var child = 2 * place + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].precedes(heap[child]) { child += 1 }
            guard heap[child].precedes(entry) else { break }
            put(heap[child], at: place)
            place = child
        }
        put(entry, at: place)
    }
}
