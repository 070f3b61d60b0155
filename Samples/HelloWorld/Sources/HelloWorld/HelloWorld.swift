import ToroCore
import ToroMicroVM

/// Says hello and ends; the machine powers off with it.
struct HelloWorld: Microservice {
    func run() async throws(Never) { print("Hello from Toro") }
}

@main struct Appliance: MicroVMAppliance {
    static func wire(_ vm: MicroVM) async throws(WiringError) -> some Microservice { HelloWorld() }
}
