import CMicroVM
import MachineDescription
import ToroCore
import ToroProcess
import ToroVirtio

/// The virtio-mmio devices that the machine's command line names.
extension MicroVM: VirtioBus {
    /// How devices are reached.
    public typealias Transport = MMIOTransport<MMIOWindow>

    /// The number of places for devices.
    public var slotCount: Int { slots.count }

    /// The device in a slot; nil if it is empty, claimed, or no device of version 1.
    public func device(inSlot slot: Int) -> MMIOTransport<MMIOWindow>? {
        guard slots.indices.contains(slot), !claimed.contains(slot) else { return nil }
        let window = MMIOWindow(address: slots[slot].address)
        do throws(VirtioError) {
            let transport = try MMIOTransport(window)
            return transport.deviceID.rawValue == 0 ? nil : transport
        } catch {
            return nil
        }
    }

    /// Hands the device in `slot` to `driver`.
    public func claim(slot: Int, for driver: any Pollable) {
        precondition(
            slots.indices.contains(slot) && !claimed.contains(slot), "the slot is not free")
        claimed.append(slot)
        #if hasFeature(Embedded)
        let vector = claimed.count - 1
        let device = slots[slot]
        toro_set_device_window(UInt32(vector), device.address)
        IOAPIC(base: unsafe Machine.processors.ioAPIC).route(
            line: device.interrupt, to: UInt8(Int(TORO_DEVICE_VECTOR) + vector),
            core: LocalAPIC.id)
        unsafe Machine.loop?.add(driver)
        #endif
    }
}
