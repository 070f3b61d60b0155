#if hasFeature(Embedded)
import CMicroVM
import MachineDescription
import ToroMemory

/// The guest's memory: who may use which frame, and what every address may be used for.
///
///     0x0000_0000_0000_0000  null page, never mapped
///     0x0000_0000_0000_1000  RAM, one to one: data, no execution
///     0x0000_0000_0010_0000  the image: text read and execute, constants read, data write
///     0x0000_7fff_8000_0000  stacks, an unmapped page below each
///     0xffff_ffff_c000_0000  the page with the running core's variables
@safe enum Memory {
    /// Where the trampoline of further cores is copied to: a page below 1 MiB.
    static let trampoline: UInt64 = 0x8000
    /// The page that each core maps to memory of its own; see linker.ld.
    static let perCore: UInt64 = 0xffff_ffff_c000_0000

    /// What is no RAM below 1 MiB: BIOS data, video memory, ROM. Read only, for the MP table.
    static let legacy = PhysicalRange(0x9_f000, 0x10_0000)
    /// What the boot tables map, and therefore all that can be touched before `build`.
    private static let bootWindow = PhysicalRange(0, 1 << 30)

    nonisolated(unsafe) private static var first: PageMap?
    nonisolated(unsafe) private(set) static var map = MemoryMap(parsing: RawSpan())

    /// Takes the RAM in `map` into use, but for what is `reserved`, and gives the processor the
    /// real page tables.
    static func start(
        _ map: MemoryMap, reserved: Span<PhysicalRange>
    ) throws(PageMapError) -> PageMap {
        // SAFETY: the first core runs this once, before there is another.
        unsafe self.map = map
        add(map, bootWindow, except: reserved)
        let pages = try pageMap(of: map)
        try mapPerCore(in: pages)
        copyTrampoline()
        unsafe first = pages
        toro_write_cr3(pages.root)
        add(map, PhysicalRange(bootWindow.end, .max), except: reserved)
        return pages
    }

    private static func add(
        _ map: MemoryMap, _ window: PhysicalRange, except reserved: Span<PhysicalRange>
    ) {
        var cursor = MemoryMap.Cursor()
        while let free = map.nextFree(&cursor, in: window, except: reserved) { Frames.add(free) }
    }

    /// A map with everything that all cores have in common.
    static func pageMap(of map: MemoryMap) throws(PageMapError) -> PageMap {
        let pages = try PageMap(hugePages: toro_cpuid(0x8000_0001).edx >> 26 & 1 != 0) {
            Frames.zeroed()
        }
        let (text, textEnd) = (toro_image_start_address(), toro_text_end_address())
        let (constantsEnd, end) = (toro_rodata_end_address(), toro_image_end_address())
        try identity(pages, text, textEnd, .execute)
        try identity(pages, textEnd, constantsEnd, [])
        try identity(pages, constantsEnd, end, .write)
        try identity(pages, trampoline, trampoline + 4096, .execute)
        try identity(pages, legacy.start, legacy.end, [])
        let special: InlineArray<4, PhysicalRange> = [
            PhysicalRange(0, 4096), PhysicalRange(trampoline, trampoline + 4096), legacy,
            PhysicalRange(text, end),
        ]
        let everywhere = PhysicalRange(0, .max)
        var cursor = MemoryMap.Cursor()
        while let range = map.nextFree(&cursor, in: everywhere, except: special.span) {
            try identity(pages, range.start, range.end, .write)
        }
        return pages
    }

    /// A map for a further core: what the first core's has below, stacks and variables of its own.
    static func pageMap(forCore index: UInt64) throws(PageMapError) -> PageMap {
        // SAFETY: written once, by `start`.
        guard let first = unsafe first else { throw .outOfMemory }
        let pages = try PageMap(hugePages: false) { Frames.zeroed() }
        for top in 0..<UInt64(256) { pages.share(top: top << 39, with: first) }
        try mapPerCore(in: pages)
        return pages
    }

    /// Puts the real-mode code of further cores where it must be, while that is still writable.
    private static func copyTrampoline() {
        // SAFETY: the page is reserved and the code is smaller; the boot tables map both.
        unsafe UnsafeMutableRawPointer(bitPattern: UInt(trampoline)).unsafelyUnwrapped.copyMemory(
            from: UnsafeRawPointer(bitPattern: UInt(toro_trampoline_address())).unsafelyUnwrapped,
            byteCount: Int(toro_trampoline_size()))
    }

    /// Gives the core that will use `pages` its own page of per-core variables.
    static func mapPerCore(in pages: PageMap) throws(PageMapError) {
        guard let frame = Frames.zeroed() else { throw .outOfMemory }
        try pages.map(perCore, to: frame, length: 4096, .write)
    }

    /// Makes a device's registers reachable at their physical address. Windows that share a page
    /// may be mapped twice.
    @inline(never)
    static func mapDevice(_ pages: PageMap, _ address: UInt64, size: UInt64) throws(PageMapError) {
        let window = PhysicalRange(address & ~4095, (address + size + 4095) & ~4095)
        do throws(PageMapError) {
            try pages.map(
                window.start, to: window.start, length: window.end - window.start,
                [.write, .device])
        } catch .occupied {
            return
        }
    }

    @inline(never) private static func identity(
        _ pages: PageMap, _ start: UInt64, _ end: UInt64, _ rights: PageRights
    ) throws(PageMapError) {
        try pages.map(start, to: start, length: end - start, rights)
    }

    /// Whether the panic report may read the byte at `address`.
    @inline(never) static func isReadable(_ address: UInt64) -> Bool {
        isHeap(address) || Stacks.isMapped(address)
            || (address >= toro_image_start_address() && address < toro_image_end_address())
    }

    /// Whether `address` is RAM outside the image.
    @inline(never) static func isHeap(_ address: UInt64) -> Bool {
        // SAFETY: written once, at the start.
        let map = unsafe self.map
        guard address >= 4096,
            address < toro_image_start_address()
                || address >= toro_image_end_address()
        else { return false }
        for index in 0..<map.count
        where address >= map[index].start && address < map[index].end {
            return true
        }
        return false
    }

    /// Whether `address` is in the image's text.
    @inline(never) static func isText(_ address: UInt64) -> Bool {
        address >= toro_image_start_address() && address < toro_text_end_address()
    }
}

/// The stacks of the cores, each with an unmapped page below it.
enum Stacks {
    // In the lower half: Swift marks an async frame by bit 60 of the frame pointer and clears the
    // bit when the function ends, which would spoil a frame pointer of the upper half.
    private static let window: UInt64 = 0x7fff_8000_0000
    private static let windowEnd: UInt64 = 0x7fff_c000_0000
    /// The addresses each core has for its stacks.
    private static let perCore: UInt64 = 1 << 20
    private static let page: UInt64 = 4096

    /// The tops of a core's stacks.
    struct Tops {
        var main: UInt64
        var exceptions: UInt64
        var interrupts: UInt64
    }

    /// Makes the stacks of the core with this index; the main one is `size` bytes.
    static func make(
        core index: UInt64, size: UInt64, in pages: PageMap
    ) throws(PageMapError) -> Tops {
        let base = window + index * perCore
        let exceptions = base + page + Descriptors.stackSize
        let interrupts = exceptions + page + Descriptors.stackSize
        let main = interrupts + page + size
        try map(below: exceptions, size: Descriptors.stackSize, in: pages)
        try map(below: interrupts, size: Descriptors.stackSize, in: pages)
        try map(below: main, size: size, in: pages)
        return Tops(main: main, exceptions: exceptions, interrupts: interrupts)
    }

    private static func map(below top: UInt64, size: UInt64, in pages: PageMap)
        throws(PageMapError)
    {
        var at = top - size
        while at < top {
            guard let frame = Frames.zeroed() else { throw .outOfMemory }
            try pages.map(at, to: frame, length: page, .write)
            at += page
        }
    }

    /// Whether a page fault at `address` means that a stack is used up.
    static func isGuard(_ address: UInt64) -> Bool {
        address >= window && address < windowEnd
    }

    /// Whether `address` is on the running core's main stack.
    static func isMapped(_ address: UInt64) -> Bool {
        // SAFETY: the running core's block is always there.
        let (top, size) = unsafe (toro_core().pointee.stack_top, toro_core().pointee.stack_size)
        return address < top && address >= top - size
    }
}
#endif
