import ToroCore

/// An image: a microservice and the units it is wired to.
///
///     @main struct Appliance: MicroVMAppliance {
///         static func wire(_ vm: MicroVM) async throws(WiringError) -> some Microservice {
///             HelloWeb(site: try await vm.virtioFS(tag: "site"), port: try await vm.vsock().listen(80))
///         }
///     }
@Core public protocol MicroVMAppliance: SendableMetatype {
    /// The service that `wire` puts together.
    associatedtype Service: Microservice

    /// Finds the devices and puts the service together.
    static func wire(_ vm: MicroVM) async throws(WiringError) -> Service
}

#if hasFeature(Embedded)
extension MicroVMAppliance {
    /// Wires the service, runs it, and powers the machine off with its exit status.
    public nonisolated static func main() {
        Core.assumeIsolated { start() }
    }

    private static func start() {
        Core.spawn { await run() }
    }

    private static func run() async {
        let service: Service
        do throws(WiringError) {
            service = try await wire(MicroVM())
        } catch {
            fail("toro: ", error.explanation, error.name, .wiring)
        }
        do throws(Service.Failure) {
            try await service.run()
        } catch {
            fail("toro: the service failed: ", error.explanation, "", .failure)
        }
        PowerOff.now(.success)
    }

    private static func fail(
        _ what: StaticString, _ explanation: String, _ name: StaticString, _ status: ExitStatus
    ) -> Never {
        Console.write(what)
        Console.write(explanation)
        if name.utf8CodeUnitCount > 0 { Console.write(": ") }
        Console.write(name)
        Console.write("\n")
        PowerOff.now(status)
    }
}
#else
extension MicroVMAppliance {
    /// An image is no program of the host: says how to run it.
    public nonisolated static func main() {
        fatalError("this is a guest image; start it with: toro run <package>")
    }
}
#endif
