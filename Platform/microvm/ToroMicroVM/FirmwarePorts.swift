#if hasFeature(Embedded)
import CMicroVM
import MachineDescription

/// The firmware configuration device of a PC (docs/specs/fw_cfg.rst). Only the first core uses it:
/// what is selected is the machine's, not a core's.
struct FirmwarePorts: FirmwareConfiguration {
    private static let selector: UInt16 = 0x510
    private static let data: UInt16 = 0x511

    func select(_ key: UInt16) { toro_out16(FirmwarePorts.selector, key) }

    func read(_ count: Int, into block: inout InlineArray<64, UInt8>) {
        var bytes = block.mutableSpan
        // SAFETY: no more is written than the block has.
        unsafe bytes.withUnsafeMutableBytes { memory in
            guard let start = memory.baseAddress else { return }
            unsafe toro_in_bytes(FirmwarePorts.data, start, min(count, memory.count))
        }
    }
}
#endif
