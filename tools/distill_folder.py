"""Distil a diffusion model into a student on a folder of images."""

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(
        usage='%(prog)s folder --teacher TEACHER --student STUDENT --out OUT [options]', description=__doc__
    )
    add = parser.add_argument
    add('folder', help='folder of images, at any depth')
    add('--teacher', required=True, help='hub id, pipeline, or checkpoint: guided-diffusion, EDM, SiT, REPA')
    add('--student', required=True, help='model of timm or MMPretrain: resnet50, resnet50_8xb32_in1k')
    add('--student-weights', metavar='FILE', help='trained weights of it to start from (its initialisation)')
    add('--out', required=True, help='folder of the results')
    add('--gpus', type=int, metavar='N', default=1, help='GPUs; without GPUs, processes (%(default)s)')
    add('--epochs', type=int, metavar='N', default=100, help='(%(default)s)')
    add('--lr', type=float, default=1e-3, help='learning rate of AdamW (%(default)s)')
    add('--seed', type=int, metavar='N', default=0, help='of all that is drawn (%(default)s)')
    add('--subfolders-are-classes', action='store_true', help='label images by subfolder (no labels)')
    add('--recipe', metavar='CONFIG', help='what is distilled and how (configs/_base_/recipes/middle_and_decoder.py)')
    add('--policy', choices=('fixed', 'uniform', 'reinforce'), help="which timesteps (the recipe's)")
    add('--timestep', type=int, metavar='T', help="the one of --policy fixed (the recipe's, 60 of 1,000)")
    add('--layers', nargs='+', metavar='NAME', help="the teacher's layers, for the student's last maps (the recipe's)")
    add('--loss', choices=('HintLoss', 'ATLoss', 'RKDLoss', 'InfoNCELoss'), help="of each layer (the recipe's)")
    add('--variant', help='of a guided-diffusion checkpoint (by its name): 64, 128, 256, 256-uncond, 512, FILE.json')
    add('--image-size', type=int, metavar='PX', help="side of the student's images (the teacher's size)")
    add('--batch-size', type=int, metavar='N', default=64, help='of a process; all images, if fewer (%(default)s)')
    add('--val', metavar='FOLDER', help='labelled images by class, to measure the student')
    add('--workers', type=int, metavar='N', default=4, help='data workers, where needed (%(default)s)')
    add('--views', type=int, metavar='N', help='fixed views of an image, features kept (new ones)')
    args = vars(parser.parse_args())
    print(f'{args["folder"]}: starting', flush=True)  # the libraries take seconds

    from mmcls.apis.distill import distill
    from mmcls.errors import told

    with told():
        distill(args.pop('folder'), **args)


if __name__ == '__main__':
    main()
