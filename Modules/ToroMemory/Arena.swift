/// One core's part of the ``Heap``. Only that core may use it, its statistics included.
///
/// A slab's way between the lists:
///
///     (frames) ──▶ partial ◀──▶ full            partial: linked in its class's list
///         ▲           │                         full: in no list
///         └── empty ──┘  given back, unless the class has no other slab with room
@safe public struct Arena: Sendable {
    /// The bytes of an arena in the control block.
    static let stateSize: UInt = 384

    //  word 0   objects that other cores have freed (a cache line of its own)
    //  word 8   the partial slabs of each class: 1 + the frame index of the first
    //  word 40  live bytes, 41 live objects, 42 peak bytes, 43 frames held
    private let heap: Heap
    private let index: UInt

    private var state: UInt { heap.state &+ Heap.arenasOffset &+ index &* Arena.stateSize }
    private var map: FrameMap { FrameMap(state: heap.state) }

    init(heap: Heap, index: UInt) {
        self.heap = heap
        self.index = index
    }

    /// Memory of at least `size` bytes at an address divisible by `alignment` (a power of two; any
    /// address is divisible by 16), nil when there is none. O(1) up to 6 KiB, else that of
    /// ``PageFrames/allocate(_:alignment:)``.
    public func allocate(_ size: Int, alignment: Int = 16) -> UnsafeMutableRawPointer? {
        guard size >= 0, alignment > 0, alignment & (alignment - 1) == 0 else { return nil }
        let mask = UInt(alignment) - 1
        // Neither can overflow: both terms are below 2^63.
        let rounded = (UInt(max(size, 1)) &+ mask) & ~mask
        var address = allocate(rounded, mask)
        if address == 0, trim() { address = allocate(rounded, mask) }
        return unsafe UnsafeMutableRawPointer(bitPattern: address)
    }

    /// Takes an object back, of whichever core. O(1) up to 6 KiB, else O(log n).
    @inline(never)
    public func deallocate(_ memory: UnsafeMutableRawPointer) {
        let address = UInt(bitPattern: memory)
        let frame = map.index(of: address)
        let entry = map.entry(frame)
        let word = entry == 0 ? FrameWord(raw: 0) : FrameWord(raw: Memory.atomicLoad(entry))
        if word.kind == 0 {
            heap.frames.fault(.wildPointer, at: address)
        } else if word.kind == FrameWord.furtherFrame {
            let first = frame &- Memory.load(entry &+ 8)
            release(address, first, map.entry(first))
        } else {
            release(address, frame, entry)
        }
    }

    /// Takes back what other cores have freed. Done also when a class runs out; call it in the run
    /// loop so that an idle core does not sit on memory. One load if there is nothing.
    ///
    /// Returns whether there was anything.
    @discardableResult
    public func drain() -> Bool {
        guard Memory.atomicLoad(state) != 0 else { return false }
        var object = Memory.exchange(0, at: state)
        while object != 0 {
            let next = Memory.load(object)
            if Memory.load(object &+ 8) != Arena.remoteMark(object) {
                heap.frames.fault(.overwrittenFreeMemory, at: object)
                return true
            }
            Memory.store(0, at: object &+ 8)
            // SAFETY: the object was checked when it was pushed.
            if let memory = unsafe UnsafeMutableRawPointer(bitPattern: object) {
                unsafe deallocate(memory)
            }
            object = next
        }
        return true
    }

    /// Drains, and gives empty slabs back to the page frames; true if there was anything. Done also when memory
    /// runs out. O(number of slabs with room).
    @discardableResult
    public func trim() -> Bool {
        var found = drain()
        for kind in 0..<SizeClass.count {
            var link = Memory.load(list(kind))
            while link != 0 {
                let entry = map.entry(link - 1)
                let next = Memory.load(entry &+ 8) & 0xFFFF_FFFF
                if FrameWord(raw: Memory.load(entry)).used == 0 {
                    unlink(link - 1, entry, kind)
                    let count = SizeClass(index: kind).frames
                    releaseFrames(link - 1, count, entries: count)
                    found = true
                }
                link = next
            }
        }
        return found
    }

    /// The usable bytes of an object, of whichever core, all of them the caller's to write; 0 for
    /// an address that is none.
    public func usableSize(_ memory: UnsafeMutableRawPointer) -> Int {
        let frame = map.index(of: UInt(bitPattern: memory))
        var entry = map.entry(frame)
        if entry == 0 { return 0 }
        var word = FrameWord(raw: Memory.atomicLoad(entry))
        if word.kind == FrameWord.furtherFrame {
            entry = map.entry(frame &- Memory.load(entry &+ 8))
            word = FrameWord(raw: Memory.atomicLoad(entry))
        }
        if word.kind == 0 { return 0 }
        if word.kind == FrameWord.largeObject {
            return Int(Memory.load(entry &+ 8) &* frameSize)
        }
        return Int(SizeClass(index: word.kind - 1).size)
    }

    /// The object with at least `size` bytes, moved if it must be, its contents kept as far as they
    /// fit; nil, and the object as it was, when there is no memory. It is aligned to 16.
    public func reallocate(
        _ memory: UnsafeMutableRawPointer, size: Int
    ) -> UnsafeMutableRawPointer? {
        let usable = unsafe usableSize(memory)
        // Stay, unless more than half would be waste.
        if size <= usable, size > usable / 2 { return unsafe memory }
        guard let new = unsafe allocate(size) else { return nil }
        // SAFETY: two different objects, each of at least as many bytes.
        unsafe new.copyMemory(from: memory, byteCount: min(size, usable))
        unsafe deallocate(memory)
        return unsafe new
    }

    /// The figures of this moment; objects freed by other cores count until they are drained.
    public var statistics: HeapStatistics {
        HeapStatistics(
            liveBytes: Int(Memory.load(state &+ 320)), liveObjects: Int(Memory.load(state &+ 328)),
            peakBytes: Int(Memory.load(state &+ 336)), framesHeld: Int(Memory.load(state &+ 344)))
    }
}

// MARK: - Allocation

extension Arena {
    /// An address, or 0; `size` is a multiple of `alignmentMask` + 1.
    private func allocate(_ size: UInt, _ alignmentMask: UInt) -> UInt {
        if size <= SizeClass.maximumSize {
            let sizeClass = SizeClass(size: size)
            // A class's size is a multiple of each power of two that divides `size` and is less
            // than 4096, because the steps between classes are powers of two.
            if sizeClass.frames != 0 { return allocate(sizeClass) }
        }
        let count = (size &+ (frameSize - 1)) / frameSize
        let address = heap.frames.take(count, alignmentMask &+ 1)
        if address == 0 { return 0 }
        let entry = map.makeEntry(map.index(of: address))
        if entry == 0 {
            heap.frames.give(address, count)
            return 0
        }
        Memory.store(count, at: entry &+ 8)
        Memory.atomicStore(
            FrameWord(kind: FrameWord.largeObject, arena: index).raw, at: entry)
        hold(count)
        account(count &* frameSize)
        // A stale mark would pass for a double free.
        Memory.store(0, at: address &+ 8)
        return address
    }

    private func allocate(_ sizeClass: SizeClass) -> UInt {
        var link = Memory.load(list(sizeClass.index))
        if link == 0 {
            drain()
            link = Memory.load(list(sizeClass.index))
            if link == 0 { link = makeSlab(sizeClass) }
            if link == 0 { return 0 }
        }
        let frame = link - 1
        let entry = map.entry(frame)
        let slab = map.address(of: frame)
        var word = FrameWord(raw: Memory.load(entry))
        let size = sizeClass.size
        var object: UInt
        if word.firstFree != 0 {
            object = slab &+ (word.firstFree - 1) &* size
            let next = Memory.load(object)
            guard Memory.load(object &+ 8) == Arena.freeMark(object), next <= word.firstUntouched
            else {
                heap.frames.fault(.overwrittenFreeMemory, at: object)
                return 0
            }
            word.firstFree = next
        } else {
            object = slab &+ word.firstUntouched &* size
            word.firstUntouched &+= 1
        }
        word.used &+= 1
        if word.used == word.capacity { unlink(frame, entry, sizeClass.index) }
        Memory.atomicStore(word.raw, at: entry)
        Memory.store(0, at: object &+ 8)
        account(size)
        return object
    }

    /// Makes a slab and links it; returns 1 + its frame index, or 0.
    @inline(never)
    private func makeSlab(_ sizeClass: SizeClass) -> UInt {
        let count = sizeClass.frames
        let address = heap.frames.take(count, frameSize)
        if address == 0 { return 0 }
        let frame = map.index(of: address)
        // So few frames lie in two leaves at most.
        if map.makeEntry(frame) == 0 || map.makeEntry(frame &+ count &- 1) == 0 {
            heap.frames.give(address, count)
            return 0
        }
        let capacity = sizeClass.capacity
        var distance = count
        while distance > 0 {
            distance &-= 1
            let entry = map.entry(frame &+ distance)
            // The second word of the first frame is its links, none yet.
            Memory.store(distance, at: entry &+ 8)
            let word = FrameWord(
                kind: distance == 0 ? sizeClass.index &+ 1 : FrameWord.furtherFrame, arena: index,
                capacity: capacity)
            Memory.atomicStore(word.raw, at: entry)
        }
        hold(count)
        link(frame, map.entry(frame), sizeClass.index)
        return frame &+ 1
    }
}

// MARK: - Release

extension Arena {
    /// Frees the object at `address` in the slab or large object whose first frame is `frame`.
    @inline(never)
    private func release(_ address: UInt, _ frame: UInt, _ entry: UInt) {
        let offset = address &- map.address(of: frame)
        var word = FrameWord(raw: Memory.atomicLoad(entry))
        let isLarge = word.kind == FrameWord.largeObject
        let sizeClass = SizeClass(index: word.kind - 1)
        let number = isLarge ? 0 : offset / sizeClass.size
        if isLarge ? offset != 0 : number &* sizeClass.size != offset {
            return heap.frames.fault(.wildPointer, at: address)
        }
        let mark = Memory.load(address &+ 8)
        if mark == Arena.freeMark(address) || mark == Arena.remoteMark(address) {
            return heap.frames.fault(.doubleFree, at: address)
        }
        if word.arena != index { return push(address, onto: word.arena) }
        if isLarge {
            let count = Memory.load(entry &+ 8)
            account(0 &- count &* frameSize)
            return releaseFrames(frame, count, entries: 1)
        }
        if number >= word.firstUntouched {
            return heap.frames.fault(.doubleFree, at: address)
        }
        account(0 &- sizeClass.size)
        if word.used == word.capacity { link(frame, entry, sizeClass.index) }
        word.used &-= 1
        if word.used == 0 {
            // Nothing of the slab is in use: it is as new.
            Memory.atomicStore(
                FrameWord(kind: word.kind, arena: index, capacity: word.capacity).raw,
                at: entry)
            if Memory.load(entry &+ 8) == 0 { return }
            unlink(frame, entry, sizeClass.index)
            return releaseFrames(frame, sizeClass.frames, entries: sizeClass.frames)
        }
        Memory.store(word.firstFree, at: address)
        Memory.store(Arena.freeMark(address), at: address &+ 8)
        word.firstFree = number + 1
        Memory.atomicStore(word.raw, at: entry)
    }

    /// Leaves the object to the core that owns it: a stack that anyone pushes onto, and whose owner
    /// takes all of it at once, so that no node is ever taken out and back in between.
    private func push(_ address: UInt, onto arena: UInt) {
        let stack = heap.state &+ Heap.arenasOffset &+ arena &* Arena.stateSize
        Memory.store(Arena.remoteMark(address), at: address &+ 8)
        var top: UInt
        repeat {
            top = Memory.atomicLoad(stack)
            Memory.store(top, at: address)
        } while !Memory.compareExchange(top, address, at: stack)
    }

    @inline(never)
    private func releaseFrames(_ frame: UInt, _ count: UInt, entries: UInt) {
        // Before: the frames may be another core's as soon as they are given back.
        var distance: UInt = 0
        while distance < entries {
            Memory.atomicStore(0, at: map.entry(frame &+ distance))
            distance &+= 1
        }
        hold(0 &- count)
        heap.frames.give(map.address(of: frame), count)
    }

    /// What the second word of a free object holds.
    private static func freeMark(_ address: UInt) -> UInt { address ^ 0xF4EE_0B1E_C7A1_1000 }

    /// What the second word of an object on its way to its owner holds.
    private static func remoteMark(_ address: UInt) -> UInt { address ^ 0x4E07_EF4E_ED00_1000 }
}

// MARK: - Records

extension Arena {
    /// The address of the head of a class's list.
    private func list(_ sizeClass: UInt) -> UInt { state &+ 64 &+ sizeClass &* 8 }

    /// Puts a slab at the head of its class's list.
    @inline(never)
    private func link(_ frame: UInt, _ entry: UInt, _ sizeClass: UInt) {
        let head = list(sizeClass)
        let next = Memory.load(head)
        Memory.store(next, at: entry &+ 8)
        if next != 0 {
            let neighbour = map.entry(next - 1) &+ 8
            Memory.store(Memory.load(neighbour) | (frame + 1) << 32, at: neighbour)
        }
        Memory.store(frame + 1, at: head)
    }

    /// Takes a slab out of its class's list.
    @inline(never)
    private func unlink(_ frame: UInt, _ entry: UInt, _ sizeClass: UInt) {
        let links = Memory.load(entry &+ 8)
        let (next, previous) = (links & 0xFFFF_FFFF, links >> 32)
        if next != 0 {
            let neighbour = map.entry(next - 1) &+ 8
            Memory.store(Memory.load(neighbour) & 0xFFFF_FFFF | previous << 32, at: neighbour)
        }
        if previous != 0 {
            let neighbour = map.entry(previous - 1) &+ 8
            Memory.store(Memory.load(neighbour) & ~0xFFFF_FFFF | next, at: neighbour)
        } else {
            Memory.store(next, at: list(sizeClass))
        }
        Memory.store(0, at: entry &+ 8)
    }

    /// Counts an object of `bytes`, or one less for the negative of its bytes.
    private func account(_ bytes: UInt) {
        let live = Memory.load(state &+ 320) &+ bytes
        Memory.store(live, at: state &+ 320)
        let one = UInt(bitPattern: Int(bitPattern: bytes).signum())
        Memory.store(Memory.load(state &+ 328) &+ one, at: state &+ 328)
        if live > Memory.load(state &+ 336) { Memory.store(live, at: state &+ 336) }
    }

    private func hold(_ frames: UInt) {
        Memory.store(Memory.load(state &+ 344) &+ frames, at: state &+ 344)
    }
}
