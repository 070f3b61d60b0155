/// The driver's side of a split virtqueue (VIRTIO 1.2, 2.7), written by hand so that a test can
/// write it wrongly.
final class DriverRing {
    struct Part {
        var address: UInt64
        var length: UInt32
        var isWritable = false
    }

    static let next: UInt16 = 1
    static let writable: UInt16 = 2
    static let indirect: UInt16 = 4

    let ram: GuestRam
    let size: UInt16
    /// Where the three parts lie.
    let descriptors: Int
    let available: Int
    let used: Int
    /// A place for indirect tables.
    let table: Int

    private(set) var availableIndex: UInt16 = 0
    private var usedIndex: UInt16 = 0
    private var nextDescriptor: UInt16 = 0

    init(_ ram: GuestRam, at place: Int, size: UInt16) {
        self.ram = ram
        self.size = size
        descriptors = place
        // Each part begins a page, and has as many as it needs.
        func pages(_ bytes: Int) -> Int { (bytes + 0xfff) & ~0xfff }
        available = place + pages(16 * Int(size))
        used = available + pages(6 + 2 * Int(size))
        table = used + pages(6 + 8 * Int(size))
    }

    /// Zeroes the ring. The driver looks at it by itself: it wants no interrupts.
    func clear() {
        ram.write([UInt8](repeating: 0, count: table + 0x1000 - descriptors), at: descriptors)
        wantNoInterrupt(true)
        wantNoInterrupt(false)
    }

    /// Writes a descriptor, true or not.
    func describe(
        _ index: UInt16, _ address: UInt64, _ length: UInt32, _ flags: UInt16, _ next: UInt16,
        table: Int? = nil
    ) {
        let place = (table ?? descriptors) + 16 * Int(index)
        ram.store(address, at: place)
        ram.store(length, at: place + 8)
        ram.store(flags, at: place + 12)
        ram.store(next, at: place + 14)
    }

    /// Makes a chain available that begins at that descriptor.
    func offer(head: UInt16) {
        ram.store(head, at: available + 4 + 2 * Int(availableIndex % size))
        availableIndex &+= 1
        ram.store(availableIndex, at: available + 2)
    }

    /// Writes a chain of those parts into the next descriptors and offers it.
    @discardableResult
    func offer(_ parts: [Part], indirect: Bool = false) -> UInt16 {
        let head = nextDescriptor
        if indirect {
            let place = table + 1024 * Int(head)
            for (index, part) in parts.enumerated() {
                describe(
                    UInt16(index), part.address, part.length,
                    flags(part, isLast: index == parts.count - 1), UInt16(index + 1), table: place)
            }
            describe(
                head, UInt64(place), UInt32(16 * parts.count), DriverRing.indirect, 0)
            nextDescriptor = (nextDescriptor + 1) % size
        } else {
            for (index, part) in parts.enumerated() {
                let following = (nextDescriptor + 1) % size
                describe(
                    nextDescriptor, part.address, part.length,
                    flags(part, isLast: index == parts.count - 1), following)
                nextDescriptor = following
            }
        }
        offer(head: head)
        return head
    }

    private func flags(_ part: Part, isLast: Bool) -> UInt16 {
        (part.isWritable ? DriverRing.writable : 0) | (isLast ? 0 : DriverRing.next)
    }

    /// Whether the device wants a kick (2.7.10), as a driver without event indices asks.
    var wantsKick: Bool { ram.load(used, as: UInt16.self) & 1 == 0 }

    /// Asks for an interrupt when the device gives back the next chain, as a driver that is about to
    /// sleep does (2.7.7); with event indices, or else with the ring's flags.
    func wantInterrupt(_ hasEventIndex: Bool = true) {
        if hasEventIndex {
            ram.store(usedIndex, at: available + 4 + 2 * Int(size))
        } else {
            ram.store(UInt16(0), at: available)
        }
    }

    /// Wants no interrupts, as a driver that is at work.
    func wantNoInterrupt(_ hasEventIndex: Bool = true) {
        if hasEventIndex {
            ram.store(usedIndex &+ 0x8000, at: available + 4 + 2 * Int(size))
        } else {
            ram.store(UInt16(1), at: available)
        }
    }

    /// How many chains the device has given back in all, those that were not taken included.
    var usedTotal: UInt16 { ram.load(used + 2) }

    /// Whether as many chains are on their way as the ring can hold.
    var isFull: Bool { availableIndex &- usedIndex >= size }

    /// The next chain that the device is done with.
    func takeUsed() -> (head: UInt32, written: UInt32)? {
        guard ram.load(used + 2, as: UInt16.self) != usedIndex else { return nil }
        let place = used + 4 + 8 * Int(usedIndex % size)
        usedIndex &+= 1
        return (ram.load(place), ram.load(place + 4))
    }
}
