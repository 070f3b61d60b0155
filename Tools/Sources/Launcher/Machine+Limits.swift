extension Machine {
    /// The most cores a machine may have: a guest uses no more of them (`TORO_MAXIMUM_CORES`).
    public static let maximumCores = 16

    /// The devices a machine may have: QEMU's microvm has so many places for them without ACPI.
    static let slots = 8

    /// Throws, with the reason, if this host cannot have such a machine with `shares` shares and
    /// `ports` published ports.
    public func check(shares: Int, ports: Int) throws(LaunchError) {
        // One device has all ports.
        let devices = shares + (ports > 0 ? 1 : 0)
        guard devices <= Machine.slots else {
            let others = ports > 0 ? ", and the published ports together another one" : ""
            throw .usage(
                "\(shares) shares are too many: a machine has places for \(Machine.slots) devices; "
                    + "each share takes one\(others)")
        }
        try HostMemory().check(MemorySize(parsing: memory))
        try checkParameters()
    }
}
