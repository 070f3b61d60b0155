// swift-tools-version: 6.2
import PackageDescription

// A starting point to copy. Change the path of the dependency to where Toro is, or to its URL and
// version, and the names to yours.
func toro(_ names: String...) -> [Target.Dependency] {
    names.map { .product(name: $0, package: "toro") }
}

let package = Package(
    name: "Template",
    dependencies: [.package(name: "toro", path: "../..")],
    targets: [
        // The microservice: knows protocols, no platform.
        .target(name: "Greeter", dependencies: toro("ToroCore", "ToroHTTP")),
        // The microservice as a microVM: `toro run .`
        .executableTarget(
            name: "GreeterVM",
            dependencies: ["Greeter"]
                + toro("ToroCore", "ToroMicroVM", "ToroVirtioFS", "ToroVsock")),
        // The microservice as a Linux process: `swift run GreeterHost --share …`
        .executableTarget(
            name: "GreeterHost", dependencies: ["Greeter"] + toro("ToroCore", "ToroHost")),
        // The microservice with its devices swapped: `swift test`
        .testTarget(
            name: "GreeterTests", dependencies: ["Greeter"] + toro("ToroCore", "ToroTesting")),
    ],
    swiftLanguageModes: [.v6]
)
