// swift-tools-version: 6.2
import PackageDescription

func toro(_ names: String...) -> [Target.Dependency] {
    names.map { .product(name: $0, package: "toro") }
}

let package = Package(
    name: "StaticWebServer",
    dependencies: [.package(name: "toro", path: "../..")],
    targets: [
        .target(name: "StaticWebServer", dependencies: toro("ToroCore", "ToroHTTP")),
        .executableTarget(
            name: "StaticWebServerVM",
            dependencies: ["StaticWebServer"]
                + toro("ToroCore", "ToroMicroVM", "ToroVirtioFS", "ToroVsock")),
        .executableTarget(
            name: "StaticWebServerHost",
            dependencies: ["StaticWebServer"] + toro("ToroCore", "ToroHost")),
    ],
    swiftLanguageModes: [.v6]
)
