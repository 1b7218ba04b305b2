//! A layout being written: nodes as device-tree source, put together with what every layout has.

use crate::oracle::{Content, Error, Layout, Machine, Module, Oracle, XEN_ARGUMENTS};
use std::fmt::Write;

/// Where the first domain's kernel lies; the others' follow 16 MiB apart.
const KERNELS: u64 = 0x5000_0000;
const KERNEL_STEP: u64 = 0x100_0000;

/// A layout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sketch {
    /// Appended to Xen's command line.
    pub(crate) xen: String,
    /// Source inside `/chosen`.
    pub(crate) chosen: String,
    /// Source inside the root node.
    pub(crate) root: String,
    /// Source after the root node, for labels and deletions.
    pub(crate) after: String,
    /// Domains, in their order.
    pub(crate) domains: Vec<Domain>,
    /// Modules beside the domains' kernels.
    pub(crate) modules: Vec<Module>,
    /// The machine.
    pub(crate) machine: Machine,
}

/// A domain in it.
#[derive(Clone, Debug)]
pub(crate) struct Domain {
    name: String,
    /// `cpus = <1>;`
    pub(crate) cpus: String,
    /// `memory = <0 32768>;`
    pub(crate) memory: String,
    /// More properties of its node.
    pub(crate) properties: String,
    /// Nodes inside it.
    pub(crate) nodes: String,
    /// The kernel's boot arguments.
    pub(crate) arguments: String,
    /// Where its kernel lies; `None` for a domain without one.
    pub(crate) kernel: Option<u64>,
    /// What is loaded there; `None` when the node speaks of something that is not loaded.
    pub(crate) content: Option<Content>,
    /// Bytes that the node tells, when not the truth.
    pub(crate) size: Option<u64>,
}

impl Domain {
    fn new(index: u64) -> Self {
        Self {
            name: format!("domain-{}", index + 1),
            cpus: "cpus = <1>;".into(),
            memory: "memory = <0 32768>;".into(),
            properties: String::new(),
            nodes: String::new(),
            arguments: String::new(),
            kernel: Some(KERNELS + index * KERNEL_STEP),
            content: Some(Content::Guest),
            size: None,
        }
    }

    /// Adds properties, or nodes: not both in one call.
    pub(crate) fn with(&mut self, source: &str) -> &mut Self {
        // A device tree's source has a node's properties first.
        if source.contains('{') {
            self.nodes.push_str(source);
        } else {
            self.properties.push_str(source);
        }
        self
    }

    /// Its kernel.
    pub(super) fn module(&self) -> Option<Module> {
        Some(Module {
            content: self.content.clone()?,
            address: self.kernel?,
        })
    }

    fn write(&self, guest_size: u64) -> String {
        let real = match &self.content {
            Some(Content::Bytes(bytes)) => bytes.len() as u64,
            _ => guest_size,
        };
        let size = self.size.unwrap_or(real);
        let kernel = self.kernel.map_or_else(String::new, |at| {
            format!(
                "module@{at:x} {{ compatible = \"multiboot,kernel\", \"multiboot,module\"; \
                 reg = <{} {}>; bootargs = \"{}\"; }};",
                cells(at),
                cells(size),
                self.arguments
            )
        });
        format!(
            "{} {{ compatible = \"xen,domain\"; #address-cells = <2>; #size-cells = <2>; {} {} {} {} {kernel} }};\n",
            self.name, self.cpus, self.memory, self.properties, self.nodes
        )
    }
}

impl Sketch {
    /// A layout with that many domains, each with a vCPU and 32 MiB.
    pub(crate) fn of(domains: u64) -> Self {
        Self {
            domains: (0..domains).map(Domain::new).collect(),
            ..Self::default()
        }
    }

    /// Changes the domain with this number, counted from 1 as Xen does.
    pub(crate) fn domain(mut self, number: usize, change: impl FnOnce(&mut Domain)) -> Self {
        if let Some(domain) = self.domains.get_mut(number - 1) {
            change(domain);
        }
        self
    }

    /// Adds source to `/chosen`.
    pub(crate) fn chosen(mut self, source: &str) -> Self {
        self.chosen.push_str(source);
        self
    }

    /// Adds to Xen's command line.
    pub(crate) fn xen(mut self, argument: &str) -> Self {
        let _ = write!(self.xen, " {argument}");
        self
    }

    /// A machine with so many CPUs.
    pub(crate) fn cpus(mut self, cpus: u8) -> Self {
        self.machine.cpus = cpus;
        self
    }

    /// The layout, ready to be judged.
    pub(crate) fn layout(&self, oracle: &Oracle, name: &str) -> Result<Layout, Error> {
        let size = oracle.guest_size()?;
        let domains: String = self
            .domains
            .iter()
            .map(|domain| domain.write(size))
            .collect();
        let fragment = format!(
            "/ {{ {}\nchosen {{ #address-cells = <2>; #size-cells = <2>;\n\
             xen,xen-bootargs = \"{XEN_ARGUMENTS}{}\";\n{}\n{domains}}}; }};\n{}",
            self.root, self.xen, self.chosen, self.after
        );
        let mut modules: Vec<Module> = self.domains.iter().filter_map(Domain::module).collect();
        modules.extend(self.modules.iter().cloned());
        Ok(Layout {
            dtb: oracle.tree_with(name, &self.machine, &fragment)?,
            modules,
            machine: self.machine.clone(),
            readback: true,
            strangers: Vec::new(),
        })
    }
}

/// A number as two cells.
pub(crate) fn cells(value: u64) -> String {
    format!("{:#x} {:#x}", value >> 32, value & 0xffff_ffff)
}
