#if hasFeature(Embedded)
import MachineDescription

/// Memory that the hypervisor has filled in, by its physical address.
@safe enum PhysicalMemory {
    /// `count` bytes at `address`, which the boot or the real tables map one to one.
    @_lifetime(immortal)
    @unsafe static func span(_ address: UInt64, _ count: Int) -> RawSpan {
        guard address != 0, count > 0,
            let start = unsafe UnsafeRawPointer(bitPattern: UInt(address))
        else { return RawSpan() }
        let span = unsafe RawSpan(_unsafeStart: start, byteCount: count)
        return unsafe _overrideLifetime(span, copying: ())
    }

    /// The length of the NUL-terminated string at `address`, at most `limit`.
    @unsafe static func stringLength(_ address: UInt64, limit: Int) -> Int {
        guard address != 0 else { return 0 }
        let text = unsafe span(address, limit)
        for offset in 0..<limit
        where unsafe text.unsafeLoad(fromByteOffset: offset, as: UInt8.self) == 0 {
            return offset
        }
        return limit
    }

    /// The MP table, searched where the specification says (MPS 1.4, chapter 4): the last
    /// kilobyte of base memory and the BIOS ROM.
    @unsafe static func processorTable() -> ProcessorTable? {
        for (start, end) in [(UInt64(0x9_fc00), UInt64(0xa_0000)), (0xf_0000, 0x10_0000)] {
            var at = start
            while at < end {
                let pointer = unsafe span(at, ProcessorTable.pointerSize)
                if let header = ProcessorTable.table(fromPointer: pointer),
                    header.address < 1 << 20,
                    let length = ProcessorTable.length(
                        fromHeader: unsafe span(header.address, header.length)),
                    let table = ProcessorTable(parsing: unsafe span(header.address, length))
                {
                    return table
                }
                at += 16
            }
        }
        return nil
    }
}
#endif
