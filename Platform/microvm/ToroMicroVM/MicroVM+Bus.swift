import CMicroVM
import MachineDescription
import ToroCore
import ToroProcess
import ToroVirtio

/// The virtio-mmio devices that the machine's command line names.
extension MicroVM: VirtioBus {
    /// The number of places for devices.
    public var slotCount: Int { min(slots.count, UInt64.bitWidth) }

    /// The device in a slot; nil if it is empty or claimed.
    @export(interface)
    public func device(inSlot slot: Int) throws(VirtioError) -> (any VirtioTransport)? {
        guard isFree(slot) else { return nil }
        let transport = try MMIOTransport(MMIOWindow(address: slots[slot].address))
        return transport.deviceID.rawValue == 0 ? nil : transport
    }

    /// Hands the device in `slot` to `driver`.
    @export(interface)
    public func claim(slot: Int, for driver: any Pollable) {
        precondition(isFree(slot), "the slot is not free")
        #if hasFeature(Embedded)
        let vector = claimed.nonzeroBitCount
        precondition(vector < Int(TORO_TRAP_STUBS - TORO_DEVICE_VECTOR), "too many drivers")
        let device = slots[slot]
        toro_set_device_window(UInt32(vector), device.address)
        IOAPIC.route(
            line: device.interrupt, to: UInt8(Int(TORO_DEVICE_VECTOR) + vector),
            core: LocalAPIC.id)
        unsafe Machine.loop?.add(driver)
        #endif
        claimed |= 1 << UInt64(slot)
    }

    private func isFree(_ slot: Int) -> Bool {
        (0..<slotCount).contains(slot) && claimed >> UInt64(slot) & 1 == 0
    }
}
