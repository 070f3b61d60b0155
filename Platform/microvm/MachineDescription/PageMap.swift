/// What may be done with a page.
public struct PageRights: OptionSet, Sendable {
    /// The bits.
    public let rawValue: UInt8
    /// The rights with these bits.
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// Data may be stored in it.
    public static let write = PageRights(rawValue: 1)
    /// Instructions may be fetched from it.
    public static let execute = PageRights(rawValue: 2)
    /// It is a device's: accesses are neither cached nor reordered.
    public static let device = PageRights(rawValue: 4)
}

/// Why a mapping was refused.
public enum PageMapError: Error, Equatable {
    /// No frame for a table.
    case outOfMemory
    /// An address or length is no multiple of 4 KiB.
    case misaligned
    /// A page there is mapped already.
    case occupied(UInt64)
}

/// A four-level page table (Intel SDM volume 3, 4.5), written through the identity mapping.
///
/// Tables are made on demand, pages as large as alignment and length allow, so that mapping a
/// gibibyte costs one store.
@safe public struct PageMap {
    /// The physical address of the top table, for CR3.
    public let root: UInt64
    private let hugePages: Bool
    private let makeTable: () -> UInt64?

    private static let present: UInt64 = 1
    private static let writable: UInt64 = 2
    private static let uncached: UInt64 = 0x18  // PCD, PWT
    private static let large: UInt64 = 0x80
    private static let noExecute: UInt64 = 1 << 63
    private static let addressMask: UInt64 = 0x000f_ffff_ffff_f000

    /// An empty map. `makeTable` gives the physical address of a zeroed frame, or nil;
    /// `hugePages` says whether the processor has 1 GiB pages.
    public init(hugePages: Bool, makeTable: @escaping () -> UInt64?) throws(PageMapError) {
        guard let root = makeTable() else { throw .outOfMemory }
        self.root = root
        self.hugePages = hugePages
        self.makeTable = makeTable
    }

    /// Maps `length` bytes at `virtual` to `physical`. Throws, with a part mapped, if a page of
    /// the range is mapped already or there is no frame for a table.
    public func map(
        _ virtual: UInt64, to physical: UInt64, length: UInt64, _ rights: PageRights
    ) throws(PageMapError) {
        guard (virtual | physical | length) & 4095 == 0 else { throw .misaligned }
        var done: UInt64 = 0
        while done < length {
            let (at, target, left) = (virtual &+ done, physical &+ done, length - done)
            let level = largestPage(at | target, left)
            let entry = unsafe try entry(for: at, level: level)
            guard unsafe entry.pointee & PageMap.present == 0 else { throw .occupied(at) }
            let size: UInt64 = level > 1 ? PageMap.large : 0
            unsafe entry.pointee = target | size | PageMap.present | bits(rights)
            done += 1 << (12 + 9 * UInt64(level - 1))
        }
    }

    /// Makes the entry of the top level that covers `virtual` the same as in `other`.
    public func share(top virtual: UInt64, with other: PageMap) {
        let index = Int(virtual >> 39 & 511)
        // SAFETY: both roots are page tables of 512 entries; the index is below 512.
        unsafe table(root)[index] = unsafe table(other.root)[index]
    }

    private func bits(_ rights: PageRights) -> UInt64 {
        (rights.contains(.write) ? PageMap.writable : 0)
            | (rights.contains(.execute) ? 0 : PageMap.noExecute)
            | (rights.contains(.device) ? PageMap.uncached : 0)
    }

    private func largestPage(_ alignment: UInt64, _ length: UInt64) -> Int {
        if hugePages, alignment & (1 << 30 - 1) == 0, length >= 1 << 30 { return 3 }
        if alignment & (1 << 21 - 1) == 0, length >= 1 << 21 { return 2 }
        return 1
    }

    /// The entry for `virtual` at `level` (1: 4 KiB, 2: 2 MiB, 3: 1 GiB), tables made on the way.
    private func entry(
        for virtual: UInt64, level: Int
    ) throws(PageMapError) -> UnsafeMutablePointer<UInt64> {
        var address = root
        for depth in stride(from: 4, to: level, by: -1) {
            let index = Int(virtual >> (12 + 9 * UInt64(depth - 1)) & 511)
            // SAFETY: `address` is a table of 512 entries that this map made.
            let entry = unsafe table(address) + index
            if unsafe entry.pointee & PageMap.present == 0 {
                guard let frame = makeTable() else { throw .outOfMemory }
                unsafe entry.pointee = frame | PageMap.present | PageMap.writable
            } else if unsafe entry.pointee & PageMap.large != 0 {
                throw .occupied(virtual)
            }
            address = unsafe entry.pointee & PageMap.addressMask
        }
        let index = Int(virtual >> (12 + 9 * UInt64(level - 1)) & 511)
        return unsafe table(address) + index
    }

    private func table(_ physical: UInt64) -> UnsafeMutablePointer<UInt64> {
        // SAFETY: frames for tables come from `makeTable`, are never 0, and are identity-mapped.
        guard let table = unsafe UnsafeMutablePointer<UInt64>(bitPattern: UInt(physical)) else {
            fatalError("a page table at address 0")
        }
        return unsafe table
    }
}
