import ToroCore

/// Feature bits (VIRTIO 1.2, section 2.2).
public struct VirtioFeatures: OptionSet, Sendable {
    /// The bits.
    public let rawValue: UInt64
    /// The features with these bits.
    public init(rawValue: UInt64) { self.rawValue = rawValue }

    /// VIRTIO_F_INDIRECT_DESC: descriptors may point to tables of descriptors.
    public static let indirectDescriptors = VirtioFeatures(rawValue: 1 << 28)
    /// VIRTIO_F_EVENT_IDX: notifications are suppressed by index.
    public static let eventIndex = VirtioFeatures(rawValue: 1 << 29)
    /// VIRTIO_F_VERSION_1: the device is no legacy device.
    public static let version1 = VirtioFeatures(rawValue: 1 << 32)
}

/// Why a device cannot be driven.
public enum VirtioError: ToroError, Equatable {
    /// The register window does not begin with "virt": the value that is there.
    case badMagic(UInt32)
    /// The window's version is not 2; 1 is the legacy interface.
    case unsupportedVersion(UInt32)
    /// The device lacks required features: their bits.
    case missingFeatures(VirtioFeatures)
    /// The device did not take the features it offered.
    case featuresRefused
    /// The device did not finish its reset in time.
    case resetTimedOut
    /// The device has no queue of that index, or one that is too small.
    case missingQueue(UInt16)
    /// The device changed its configuration again and again while it was read.
    case configurationUnsettled
    /// No memory for the rings.
    case outOfMemory(OutOfMemory)

    /// What was wrong and what to do.
    public var explanation: String {
        @export(interface) get {
            switch self {
            case .badMagic: "no virtio device answers at its address"
            case .unsupportedVersion(1):
                """
                a virtio device is a legacy one (version 1 of the register layout); start QEMU with \
                -global virtio-mmio.force-legacy=false
                """
            case .unsupportedVersion(let version):
                "a virtio device has version " + String(version) + " of the register layout, "
                    + "and this driver knows 2 alone; use another hypervisor"
            case .configurationUnsettled:
                "the virtio device never stops to change its configuration"
            case .missingFeatures: "the virtio device lacks a feature the driver needs"
            case .featuresRefused: "the virtio device refused the features it offered"
            case .resetTimedOut: "the virtio device does not answer a reset"
            case .missingQueue: "the virtio device lacks a queue the driver needs"
            case .outOfMemory: "out of memory for the rings; give the guest more memory"
            }
        }
    }
}
