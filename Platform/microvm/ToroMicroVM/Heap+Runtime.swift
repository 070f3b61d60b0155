#if hasFeature(Embedded)
import CMicroVM
import MachineDescription
import ToroMemory

/// The kernel's heap and the C names by which compiled code and the Swift runtime know it.
@safe enum KernelHeap {
    /// The heap of all cores.
    @inline(__always) static var heap: Heap {
        // SAFETY: the block is zero at first, large enough for TORO_MAXIMUM_CORES arenas, and
        // nothing else touches it.
        unsafe Heap(state: UInt(toro_heap_state_address()))
    }

    /// The running core's share of it.
    @inline(__always) static var arena: Arena {
        // SAFETY: the running core's block is always there.
        heap.arena(Int(unsafe toro_core().pointee.index))
    }

    /// Takes in what other cores have freed of this core's memory.
    static func takeRemoteFrees() { _ = arena.drain() }

    /// Stops the machine when the heap notices that it was misused.
    static func reportFaults() {
        heap.frames.report { fault, _ in
            switch MemoryFault(rawValue: fault) {
            case .doubleFree: unsafe Panic.fail("heap: freed an object twice", .trap)
            case .wildPointer: unsafe Panic.fail("heap: freed what is no object", .trap)
            case .overwrittenFreeMemory:
                unsafe Panic.fail("heap: wrote to free memory or beyond an object's end", .trap)
            default: unsafe Panic.fail("heap: freed page frames that were not allocated", .trap)
            }
        }
    }
}

/// Whole page frames, for tables and stacks.
@safe enum Frames {
    /// Takes RAM that nothing uses into the heap.
    static func add(_ range: PhysicalRange) {
        // SAFETY: the memory map says it is RAM, and what is in use was left out.
        unsafe KernelHeap.heap.frames.add(
            base: UInt(range.start), size: UInt(range.end - range.start))
    }

    /// The address of a frame full of zeros, nil if there is none.
    static func zeroed() -> UInt64? {
        guard let frame = unsafe try? KernelHeap.heap.frames.allocate(1) else { return nil }
        unsafe frame.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
        return UInt64(UInt(bitPattern: frame))
    }
}

/// `toro_allocate`, `malloc` and `posix_memalign` come here; nil if there is no memory.
@c(toro_heap_allocate)
public func heapAllocate(_ size: Int, _ alignment: Int) -> UnsafeMutableRawPointer? {
    unsafe KernelHeap.arena.allocate(size, alignment: alignment)
}

/// Whether so little memory is left without `size` bytes of it that `toro_allocate` refuses more,
/// empty slabs counted as free.
@c(toro_heap_is_scarce) public func heapIsScarce(_ size: Int) -> Bool {
    guard KernelHeap.heap.frames.isScarce(without: size) else { return false }
    return !KernelHeap.arena.trim() || KernelHeap.heap.frames.isScarce(without: size)
}

/// `realloc` comes here; nil if there is no memory, and the object is as it was.
@c(toro_heap_reallocate)
public func heapReallocate(
    _ memory: UnsafeMutableRawPointer, _ size: Int
) -> UnsafeMutableRawPointer? {
    unsafe KernelHeap.arena.reallocate(memory, size: size)
}

/// `free` comes here.
@c(toro_heap_deallocate) public func heapDeallocate(_ memory: UnsafeMutableRawPointer) {
    unsafe KernelHeap.arena.deallocate(memory)
}

/// `malloc_usable_size` comes here.
@c(toro_heap_usable_size) public func heapUsableSize(_ memory: UnsafeMutableRawPointer) -> Int {
    unsafe KernelHeap.arena.usableSize(memory)
}
#endif
