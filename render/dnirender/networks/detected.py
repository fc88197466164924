"""Networks of others that spandrel does not have: they are built here, and detected by the names of their tensors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import ModuleType

from dnirender.networks.architectures import (
    ada_resnet,
    conditional_style,
    dncnn,
    dynamic_net,
    fast_neural_style,
    fast_style_transfer,
    resnet_generator,
    transformer_net,
    unet_generator,
)
from dnirender.networks.checkpoint import State
from dnirender.networks.registry import Architecture, choose

CODES = (0.0, 255.0)
SIGNED = (-1.0, 1.0)


def _style_network(name: str, module: ModuleType) -> Architecture:
    """A style network with values 0..255 on both sides; `module` is its file in `architectures`."""
    return Architecture(
        name,
        module.from_state_dict,
        module.detect,
        multiple=module.MULTIPLE,
        minimum=module.MINIMUM,
        input_range=CODES,
        output_range=CODES,
        fp32_input=True,
    )


def _unet(halvings: int) -> Architecture:
    return Architecture(
        f"pix2pix U-Net {2**halvings}",
        unet_generator.from_state_dict,
        partial(unet_generator.detect, halvings=halvings),
        multiple=2**halvings,
        minimum=2**halvings,
        input_range=SIGNED,
        output_range=SIGNED,
        fp32_input=True,
    )


DETECTED = (
    _style_network("TransformerNet", transformer_net),
    _style_network("fast-style-transfer", fast_style_transfer),
    _style_network("fast-neural-style", fast_neural_style),
    Architecture(
        "conditional style",
        conditional_style.from_state_dict,
        conditional_style.detect,
        multiple=conditional_style.MULTIPLE,
        minimum=conditional_style.MINIMUM,
        fp32_input=True,
    ),
    Architecture(
        "Dynamic-Net",
        dynamic_net.from_state_dict,
        dynamic_net.detect,
        multiple=dynamic_net.MULTIPLE,
        minimum=dynamic_net.MINIMUM,
        fp32_input=True,
    ),
    *(
        Architecture(
            "AdaResNet",
            ada_resnet.from_state_dict,
            partial(ada_resnet.detect, channels=channels),
            channels=channels,
            multiple=ada_resnet.MULTIPLE,
        )
        for channels in (3, 1)
    ),
    Architecture(
        "CycleGAN ResNet",
        resnet_generator.from_state_dict,
        resnet_generator.detect,
        multiple=resnet_generator.MULTIPLE,
        minimum=resnet_generator.MINIMUM,
        input_range=SIGNED,
        output_range=SIGNED,
        fp32_input=True,
    ),
    _unet(8),
    _unet(7),
    # The properties of spandrel's DnCNN, so that both can be mixed.
    *(
        Architecture(
            "DnCNN",
            dncnn.from_state_dict,
            partial(dncnn.detect, channels=channels),
            channels=channels,
            luma=channels == 1,
            supports_half=False,
        )
        for channels in (3, 1)
    ),
)


def find_detected(path: Path, state: State, name: str | None) -> Architecture | None:
    """The one of these that a state dict belongs to, by the names of its tensors, or that its metadata names."""
    return choose(path, state, name, DETECTED)
